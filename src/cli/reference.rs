//! The command line as a page of the docs, made from what is parsed.

use clap::{Arg, Command};

/// What stands above the commands.
const HEAD: &str = "# Command line\n\n\
    <!-- Made by `relstab reference > docs/reference.md`; a test compares them. -->\n\n\
    `relstab COMMAND -h` shows an example and the flags that most need, `relstab COMMAND --help` all of them. \
    A flag wins over `relstab.toml` ([every key](configuration.md)).\n";
/// The heading of flags that have none.
const OPTIONS: &str = "Options";

/// All commands with all flags, in Markdown.
pub fn page(mut command: Command) -> String {
    command.build();
    let mut text = HEAD.to_owned();
    let shown: Vec<_> =
        command.get_subcommands().filter(|one| !one.is_hide_set() && one.get_name() != "help").collect();
    text += "\n| command | what it does |\n|---|---|\n";
    for one in &shown {
        let name = one.get_name();
        text += &format!("| [`{name}`](#relstab-{name}) | {} |\n", about(one));
    }
    for one in shown {
        text += &section(one, "relstab", 2);
    }
    let codes = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    text + &format!("\n## Exit codes\n\n```text\n{codes}\n```\n")
}

fn about(command: &Command) -> String {
    command.get_about().map(|text| text.to_string().replace('\n', " ")).unwrap_or_default()
}

fn section(command: &Command, parent: &str, level: usize) -> String {
    let name = format!("{parent} {}", command.get_name());
    let mut text = format!("\n{} {name}\n\n{}\n", "#".repeat(level), about(command));
    if let Some(example) = command.get_before_help() {
        let lines: Vec<_> = example.to_string().lines().skip(1).map(|line| line.trim().to_owned()).collect();
        text += &format!("\n```sh\n{}\n```\n", lines.join("\n"));
    }
    let positionals: Vec<_> = command.get_positionals().filter(|arg| !arg.is_hide_set()).collect();
    text += &listed("Arguments", &positionals);
    let mut headings: Vec<&str> = Vec::new();
    let flags: Vec<_> = command.get_opts().chain(command.get_arguments().filter(|arg| is_switch(arg))).collect();
    for flag in &flags {
        let heading = flag.get_help_heading().unwrap_or(OPTIONS);
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    headings.sort_by_key(|heading| *heading != OPTIONS);
    for heading in headings {
        let under: Vec<_> =
            flags.iter().copied().filter(|flag| flag.get_help_heading().unwrap_or(OPTIONS) == heading).collect();
        text += &listed(heading, &under);
    }
    let inner = command.get_subcommands().filter(|one| !one.is_hide_set() && one.get_name() != "help");
    text + &inner.map(|one| section(one, &name, level + 1)).collect::<String>()
}

/// Flags without a value; those for help are the same everywhere.
fn is_switch(arg: &Arg) -> bool {
    !arg.is_positional() && !arg.get_action().takes_values() && !["help", "version"].contains(&arg.get_id().as_str())
}

fn listed(heading: &str, args: &[&Arg]) -> String {
    if args.is_empty() {
        return String::new();
    }
    let mut text = format!("\n**{heading}**\n\n");
    for arg in args {
        let help = arg.get_help().map(|help| help.to_string().replace('\n', " ")).unwrap_or_default();
        text += &format!("- `{}`: {help}{}{}\n", written(arg), choices(arg), default(arg));
    }
    text
}

/// As the user writes it.
fn written(arg: &Arg) -> String {
    let values: Vec<_> = arg.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect();
    match arg.get_long() {
        None => values.join(" "),
        Some(long) if arg.get_action().takes_values() => format!("--{long} {}", values.join(" ")),
        Some(long) => format!("--{long}"),
    }
}

fn choices(arg: &Arg) -> String {
    let values: Vec<_> = arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    let is_named = arg.get_action().takes_values() && !values.is_empty();
    if is_named { format!("; one of {}", values.join(", ")) } else { String::new() }
}

fn default(arg: &Arg) -> String {
    let values: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if values.is_empty() || !arg.get_action().takes_values() || arg.is_hide_default_value_set() {
        return String::new();
    }
    format!(" [default: {}]", values.join(","))
}

//! Pages of the docs that are made from the code, and the `relstab.toml` that they show.

use std::fs;

use crate::common::command::{Folder, text};
use crate::common::{project, relstab};
use relstab::config::{Config, schema};

#[test]
fn generated_pages_are_what_the_code_makes() {
    for (arguments, path) in [
        (&["reference"][..], "docs/reference.md"),
        (&["schema"], "docs/measurement.schema.json"),
        (&["schema", "config"], "docs/relstab.schema.json"),
    ] {
        let output = relstab(arguments);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let written = fs::read_to_string(project(path)).unwrap_or_default();
        let is_same = String::from_utf8_lossy(&output.stdout) == written;
        assert!(is_same, "{path} is stale; make it anew: relstab {} > {path}", arguments.join(" "));
    }
    let nav = fs::read_to_string(project("mkdocs.yml")).expect("read");
    assert!(nav.contains("reference.md") && nav.contains("configuration.md"), "{nav}");
}

#[test]
fn the_reference_names_every_command_and_flag() {
    let page = fs::read_to_string(project("docs/reference.md")).expect("read");
    let help = text(&relstab(&["watch", "--help"]));
    let flags = help.lines().filter_map(|line| line.trim_start().strip_prefix("--"));
    let flags: Vec<_> = flags.filter_map(|line| line.split([' ', '=']).next()).collect();
    assert!(flags.len() > 40, "{flags:?}");
    for flag in flags.iter().filter(|flag| **flag != "help") {
        assert!(page.contains(&format!("- `--{flag}")), "no --{flag}");
    }
    for command in ["init", "measure", "check", "watch", "status", "history"] {
        assert!(page.contains(&format!("\n## relstab {command}\n")), "no {command}");
    }
}

/// The first block of TOML in the page about `relstab.toml`.
fn shown() -> String {
    let page = fs::read_to_string(project("docs/configuration.md")).expect("read");
    let block = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    block.expect("a block of TOML").to_owned()
}

#[test]
fn the_complete_relstab_toml_of_the_docs_parses() {
    let folder = Folder::new();
    folder.file("relstab.toml", shown());
    let config = Config::read(folder.0.path()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((config.stop.len(), config.alert.len()), (4, 2));
    assert!(config.preprocess.resize.is_some() && config.perturbation.delta == Some(1.0));
    let said = format!("{}\nnothing = 1\n", shown());
    folder.file("relstab.toml", said);
    assert!(Config::read(folder.0.path()).is_err(), "what is no key is refused");
}

#[test]
fn the_complete_relstab_toml_of_the_docs_names_every_key() {
    let (schema, shown) = (schema(), shown());
    let keys = |of: &serde_json::Value| -> Vec<String> {
        of["properties"].as_object().unwrap_or_else(|| panic!("no keys in {of}")).keys().cloned().collect()
    };
    let definition = |name: &str| keys(&schema["$defs"][name]);
    let all =
        [keys(&schema), definition("Preprocess"), definition("Perturbation"), definition("Rule"), definition("Alert")]
            .concat();
    assert!(all.len() > 30, "{all:?}");
    // A key that excludes another one stands there as a comment.
    let names = |line: &str| line.trim_start_matches(['#', ' ', '[']).split([' ', '=', ']']).next().map(str::to_owned);
    let named: Vec<_> = shown.lines().filter_map(names).collect();
    let missing: Vec<_> = all.iter().filter(|key| !named.contains(key)).collect();
    assert!(missing.is_empty(), "docs/configuration.md does not name {missing:?}");
}

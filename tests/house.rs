//! The order of `src/`: which file uses which, read from the source, leads in one direction.
//!
//! A file uses the file that defines what it names: in `use`, in a path, in a macro, in its own tests. What a parent only declares and
//! passes on (`mod`, `pub use`) is not used by the parent, but by those who take it from there. So a parent may work with its
//! children, or define what they need, and not both.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};

/// Lines a file may have, the folders where that counts, and what counts there.
const MOST_LINES: usize = 400;
const FOLDERS: [&str; 4] = ["src", "hooks", "tests", "benches"];
const CODE: [&str; 7] = ["css", "html", "js", "py", "rs", "sh", "sql"];

/// A module's or an item's names, one within the other.
type Names = Vec<String>;
/// The files that each file uses, by their names without extension.
type Uses = BTreeMap<String, BTreeSet<String>>;

/// What a module names.
#[derive(Default)]
struct Module {
    /// Where it stands; a module within a file stands in that.
    file: String,
    /// What its own names for things from elsewhere stand for, and whether it passes them on.
    taken: BTreeMap<String, (Names, bool)>,
    /// What else it names.
    named: BTreeSet<Names>,
}

/// A crate's modules by their names from its root.
#[derive(Default)]
struct House(BTreeMap<Names, Module>);

impl House {
    fn at(source: &Path) -> Self {
        let mut house = Self::default();
        for path in files(source).iter().filter(|path| extension(path) == "rs") {
            let file = path.strip_prefix(source).expect("below").with_extension("");
            let file = file.to_str().expect("UTF-8");
            house.add(file, &fs::read_to_string(path).expect("read"));
        }
        house
    }

    fn add(&mut self, file: &str, text: &str) {
        let place: Names = file.split('/').filter(|name| *name != "lib").map(str::to_owned).collect();
        self.0.insert(place.clone(), Module { file: file.to_owned(), ..Module::default() });
        self.read(&place, text.parse().expect("Rust"));
    }

    /// Notes what tokens of the module at `place` name.
    fn read(&mut self, place: &Names, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            let (before, rest) = tokens.split_at(at);
            at += 1;
            match &rest[0] {
                TokenTree::Ident(word) if word == "mod" => {
                    at += 1;
                    if let Some(TokenTree::Group(body)) = rest.get(2) {
                        let within = joined(place, [rest[1].to_string()]);
                        let file = self.0[place].file.clone();
                        self.0.insert(within.clone(), Module { file, ..Module::default() });
                        self.read(&within, body.stream());
                        at += 1;
                    }
                }
                TokenTree::Ident(word) if word == "use" && !is(rest.get(1), '<') => {
                    let end = rest.iter().position(|token| is(Some(token), ';')).expect("an end");
                    at += end;
                    let passed_on = match before {
                        [.., TokenTree::Ident(word)] | [.., TokenTree::Ident(word), TokenTree::Group(_)] => {
                            word == "pub"
                        }
                        _ => false,
                    };
                    let module = self.module(place);
                    for (name, names) in taken(&[], &rest[1..end]) {
                        if let Some(name) = name {
                            module.taken.insert(name, (names, passed_on));
                        } else {
                            module.named.insert(names);
                        }
                    }
                }
                TokenTree::Ident(word) if word == "enum" => {
                    let end = rest.iter().position(|token| matches!(token, TokenTree::Group(_))).expect("a body");
                    at += end;
                    if let TokenTree::Group(variants) = &rest[end] {
                        self.read(place, without_names(variants.stream()));
                    }
                }
                TokenTree::Ident(_) => {
                    let (names, length) = path(rest);
                    at += length - 1;
                    let is_dot = |back: usize| is(before.len().checked_sub(back).map(|at| &before[at]), '.');
                    let is_member = is_dot(1) && !is_dot(2);
                    let is_label = names.len() == 1 && is(rest.get(1), ':') && !is(rest.get(2), ':');
                    if !(is_member || is_label) {
                        self.module(place).named.insert(names);
                    }
                }
                // A function that an attribute names.
                TokenTree::Literal(text) if text.to_string().starts_with("\"crate::") => {
                    let names = text.to_string().trim_matches('"').split("::").map(str::to_owned).collect();
                    self.module(place).named.insert(names);
                }
                TokenTree::Group(group) => self.read(place, group.stream()),
                TokenTree::Literal(_) | TokenTree::Punct(_) => {}
            }
        }
    }

    fn module(&mut self, place: &Names) -> &mut Module {
        self.0.get_mut(place).expect("a module that was added")
    }

    /// The file that defines what `names` stand for at `place`; `None` for a module itself, and for what is of no file here.
    fn definer(&self, place: &[String], names: &[String]) -> Option<String> {
        let (first, rest) = names.split_first()?;
        match first.as_str() {
            "crate" => return self.within(&[], rest),
            "self" => return self.within(place, rest),
            "super" => return self.within(parent(place), rest),
            _ => {}
        }
        if self.0.contains_key(&joined(place, [first.clone()])) {
            return self.within(place, names);
        }
        let (taken, _) = self.0[place].taken.get(first)?;
        // A crate of the same name is meant otherwise.
        if taken[0] == *first { None } else { self.definer(place, &joined(taken, rest.iter().cloned())) }
    }

    fn within(&self, place: &[String], names: &[String]) -> Option<String> {
        let (first, rest) = names.split_first()?;
        let (module, child) = (&self.0[place], joined(place, [first.clone()]));
        match module.taken.get(first) {
            _ if first == "super" => self.within(parent(place), rest),
            _ if self.0.contains_key(&child) => self.within(&child, rest),
            Some((taken, _)) => self.definer(place, &joined(taken, rest.iter().cloned())),
            None => Some(module.file.clone()),
        }
    }

    fn uses(&self) -> Uses {
        let mut uses = Uses::new();
        for (place, module) in &self.0 {
            let taken = module.taken.values().filter(|(_, passed_on)| !passed_on).map(|(names, _)| names);
            let used = uses.entry(module.file.clone()).or_default();
            used.extend(taken.chain(&module.named).filter_map(|names| self.definer(place, names)));
            used.remove(&module.file);
        }
        uses
    }
}

/// What a `use` takes, by the name it is given here; everything of a module, and what is given none, has no name.
fn taken(from: &[String], tokens: &[TokenTree]) -> Vec<(Option<String>, Names)> {
    let mut all = Vec::new();
    for part in tokens.split(|token| is(Some(token), ',')).filter(|part| !part.is_empty()) {
        let (names, length) = path(part);
        let mut names = joined(from, names);
        match &part[length..] {
            [.., TokenTree::Group(list)] => all.extend(taken(&names, &list.stream().into_iter().collect::<Vec<_>>())),
            [.., star] if is(Some(star), '*') => all.push((None, joined(&names, ["*".to_owned()]))),
            [_, name] => all.push((Some(name.to_string()).filter(|name| name != "_"), names)),
            _ => {
                names.pop_if(|name| name == "self");
                all.push((names.last().cloned(), names));
            }
        }
    }
    all
}

/// The path that tokens begin with, and how many of them it is.
fn path(tokens: &[TokenTree]) -> (Names, usize) {
    let (mut names, mut length) = (Names::new(), 0);
    while let Some(TokenTree::Ident(name)) = tokens.get(length) {
        names.push(name.to_string());
        length += 1;
        let goes_on = is(tokens.get(length), ':') && is(tokens.get(length + 1), ':');
        if !(goes_on && matches!(tokens.get(length + 2), Some(TokenTree::Ident(_)))) {
            break;
        }
        length += 2;
    }
    (names, length)
}

/// An enum's variants without their own names.
fn without_names(variants: TokenStream) -> TokenStream {
    let variants: Vec<_> = variants.into_iter().collect();
    let is_name = |at: usize| match &variants[..at] {
        [] => true,
        [.., before] => {
            is(Some(before), ',') || matches!(&variants[..at], [.., sign, TokenTree::Group(_)] if is(Some(sign), '#'))
        }
    };
    let is_kept = |at: &usize| !(matches!(variants[*at], TokenTree::Ident(_)) && is_name(*at));
    (0..variants.len()).filter(is_kept).map(|at| variants[at].clone()).collect()
}

fn is(token: Option<&TokenTree>, sign: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == sign)
}

fn joined(names: &[String], more: impl IntoIterator<Item = String>) -> Names {
    names.iter().cloned().chain(more).collect()
}

fn parent(place: &[String]) -> &[String] {
    &place[..place.len() - 1]
}

fn project(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The shortest way from each file back to itself, each circle once.
fn circles(uses: &Uses) -> BTreeSet<String> {
    let back = |start: &String| {
        let mut before = BTreeMap::new();
        let mut open = VecDeque::from([start]);
        while let Some(file) = open.pop_front() {
            for next in &uses[file] {
                before.entry(next).or_insert_with(|| {
                    open.push_back(next);
                    file
                });
            }
        }
        let mut circle = vec![*before.get(start)?];
        while circle[0] != start {
            circle.insert(0, before[circle[0]]);
        }
        let least = (0..circle.len()).min_by_key(|at| circle[*at])?;
        circle.rotate_left(least);
        circle.push(circle[0]);
        Some(circle.into_iter().map(String::as_str).collect::<Vec<_>>().join(" -> "))
    };
    uses.keys().filter_map(back).collect()
}

/// The modules of `src/lib.rs` in their order.
fn rooms() -> Vec<String> {
    let text = fs::read_to_string(project("src/lib.rs")).expect("read");
    text.lines().filter_map(|line| Some(line.strip_prefix("pub mod ")?.strip_suffix(';')?.to_owned())).collect()
}

#[test]
fn no_file_leads_back_to_itself() {
    let circles = Vec::from_iter(circles(&House::at(&project("src")).uses()));
    assert!(circles.is_empty(), "what both need belongs in a file of its own:\n{}", circles.join("\n"));
}

#[test]
fn a_room_uses_those_above_it_in_the_list() {
    let rooms = rooms();
    let height = |file: &str| rooms.iter().position(|room| file.split('/').next() == Some(room));
    let mut below = Vec::new();
    for (file, used) in House::at(&project("src")).uses() {
        let is_below = |used: &&String| height(&file).zip(height(used)).is_some_and(|(own, its)| own < its);
        below.extend(used.iter().filter(is_below).map(|used| format!("{file} uses {used}")));
    }
    assert!(below.is_empty(), "{}", below.join("\n"));
}

#[test]
fn every_file_is_read_in_one_sitting() {
    let all = FOLDERS.iter().flat_map(|folder| files(&project(folder)));
    let lines = |path: PathBuf| (fs::read_to_string(&path).expect("text").lines().count(), path);
    let long: Vec<_> = all
        .filter(|path| CODE.contains(&extension(path)))
        .map(lines)
        .filter(|(lines, _)| *lines > MOST_LINES)
        .map(|(lines, path)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "more than {MOST_LINES} lines:\n{}", long.join("\n"));
}

#[test]
fn the_files_that_its_picture_names_are_there() {
    let page = fs::read_to_string(project("docs/architecture.md")).expect("read");
    let named: Vec<_> =
        page.split('`').skip(1).step_by(2).filter(|name| name.contains('/') && name.contains('.')).collect();
    assert!(named.len() > 20, "{named:?}");
    let gone: Vec<_> = named.into_iter().filter(|name| !project(name).exists()).collect();
    assert!(gone.is_empty(), "no such file: {gone:?}");
}

/// What the file `a/one` uses if it says `text`, beside a parent that passes on `Two` of its child `two`.
fn used_by(text: &str) -> BTreeSet<String> {
    let mut house = House::default();
    for (file, text) in [
        ("lib", "pub mod a; pub mod b;"),
        ("a", "mod one; mod two; pub use two::Two; pub struct Own { Two: u8 } enum E { Two }"),
        ("a/two", "pub struct Two; pub fn act() {}"),
        ("b", "pub use crate::a::Two as Passed; pub struct Last;"),
        ("a/one", text),
    ] {
        house.add(file, text);
    }
    assert!(house.uses()["a"].is_empty() && house.uses()["b"].is_empty(), "what is passed on is not used");
    house.uses().remove("a/one").expect("it is there")
}

#[test]
fn every_kind_of_path_is_followed() {
    for (text, expected) in [
        ("use crate::a::two::Two;", "a/two"),
        ("use super::Two;", "a/two"),
        ("use super::{self, Own};", "a"),
        ("use super::two::{self as other, Two as Other};", "a/two"),
        ("use super::two; fn f() { two::act() }", "a/two"),
        ("use super::two;", ""),
        ("fn f() { super::two::act() }", "a/two"),
        ("fn f(x: crate::a::Own) {}", "a"),
        ("fn f() { assert!(g(&[super::super::b::Last])) }", "b"),
        ("fn f() { let x = crate::b::Passed; }", "a/two"),
        ("#[serde(with = \"crate::a::two::act\")] struct S;", "a/two"),
        ("enum E { Two, #[a] Two(super::Own), Last { Own: u8 } }", "a"),
        ("mod inner { use super::*; fn f() { super::super::two::act() } }", "a/two"),
        ("mod inner { pub fn f() {} } fn g() { self::inner::f(); inner::f(); Self::g() }", ""),
        ("// use super::Own;\n/// [`super::Own`]\nfn f() { \"super::Own\"; }", ""),
        ("use std::a::two::Two; use other::Own; fn f(a: u8) { a.two::<u8>() }", ""),
    ] {
        let used = Vec::from_iter(used_by(text)).join(" ");
        assert_eq!(used, expected, "{text}");
    }
}

#[test]
fn a_circle_is_told_once_from_its_first_file() {
    let uses = |all: &[(&str, &[&str])]| -> Uses {
        all.iter()
            .map(|(file, used)| ((*file).to_owned(), used.iter().map(|name| (*name).to_owned()).collect()))
            .collect()
    };
    let all = uses(&[("a", &["c"]), ("b", &["a"]), ("c", &["b", "d"]), ("d", &[])]);
    assert_eq!(Vec::from_iter(circles(&all)), ["a -> c -> b -> a"]);
    assert!(circles(&uses(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])])).is_empty());
}

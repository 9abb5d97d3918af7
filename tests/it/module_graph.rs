//! The modules as a graph: no import cycles of files or of the modules of a folder, and no imports against the layers.
//!
//! An edge leads from a file to each file that defines what its code uses. `mod child;` and a `pub use` that the file
//! itself does not need make no edge; unit tests do not count. Methods are not seen: they need no import.

mod arrows;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use self::arrows::{Arrows, Crate};

/// The layers that join the others.
const APP: &[&str] = &["main", "console", "dashboard", "headless", "on_done", "plan"];
/// Which layer must not import which.
const FORBIDDEN: &[(Layer, &[Layer])] = &[
    (Layer::Core, &[Layer::Cli, Layer::Net, Layer::Ui, Layer::App]),
    (Layer::Cli, &[Layer::Net, Layer::Ui, Layer::App]),
    (Layer::Net, &[Layer::Cli, Layer::Ui, Layer::App]),
    (Layer::Ui, &[Layer::Cli, Layer::Net, Layer::App]),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    Core,
    Cli,
    Net,
    Ui,
    App,
}

fn layer(path: &str) -> Layer {
    let name = path.trim_start_matches("src/").trim_end_matches(".rs");
    match name.split('/').next() {
        Some("cli") => Layer::Cli,
        Some("net") => Layer::Net,
        Some("ui") => Layer::Ui,
        Some(name) if APP.contains(&name) => Layer::App,
        _ => Layer::Core,
    }
}

/// Files that can be reached from a file along the edges.
fn reached(arrows: &Arrows, from: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut next = vec![from.to_owned()];
    while let Some(file) = next.pop() {
        for to in arrows.get(&file).into_iter().flat_map(BTreeMap::keys) {
            if found.insert(to.clone()) {
                next.push(to.clone());
            }
        }
    }
    found
}

/// Sets of files each of which can be reached from each other.
fn circles(arrows: &Arrows) -> Vec<BTreeSet<String>> {
    let reached: BTreeMap<&String, BTreeSet<String>> =
        arrows.keys().map(|file| (file, reached(arrows, file))).collect();
    let circle = |file: &String| -> BTreeSet<String> {
        let back = |to: &&String| reached.get(to).is_some_and(|files| files.contains(file));
        reached[file].iter().filter(back).cloned().collect()
    };
    let circles: BTreeSet<BTreeSet<String>> = arrows.keys().map(circle).filter(|files| files.len() > 1).collect();
    circles.into_iter().collect()
}

/// The edges between the modules of a folder, each with all files below it.
fn between_parts(arrows: &Arrows, folder: &str) -> Arrows {
    let part = |path: &str| {
        let first = path.strip_prefix(folder)?.split('/').next()?;
        Some(format!("{folder}{}", first.trim_end_matches(".rs")))
    };
    let mut found = Arrows::new();
    for (from, to, names) in arrows.iter().flat_map(|(from, to)| to.iter().map(move |(to, names)| (from, to, names))) {
        if let (Some(from), Some(to)) = (part(from), part(to))
            && from != to
        {
            found.entry(from).or_default().entry(to).or_default().extend(names.iter().cloned());
        }
    }
    found
}

/// The folders of all files, each with a slash at its end.
fn folders(arrows: &Arrows) -> BTreeSet<String> {
    let files = arrows.iter().flat_map(|(from, to)| std::iter::once(from).chain(to.keys()));
    files.flat_map(|file| file.match_indices('/').map(|(at, _)| file[..=at].to_owned())).collect()
}

/// A cycle with the names that cause it, one edge a line.
fn shown(circle: &BTreeSet<String>, arrows: &Arrows) -> String {
    let mut text = format!("circle of {}:", circle.len());
    for from in circle {
        for (to, names) in arrows[from].iter().filter(|(to, _)| circle.contains(*to)) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let _ = write!(text, "\n  {from} -> {to}: {}", names.join(", "));
        }
    }
    text
}

/// Cycles between the modules of any folder.
fn circles_of_parts(arrows: &Arrows) -> Vec<String> {
    let mut found = Vec::new();
    for folder in folders(arrows) {
        let arrows = between_parts(arrows, &folder);
        found.extend(circles(&arrows).iter().map(|circle| shown(circle, &arrows)));
    }
    found
}

/// Edges against the layers.
fn breaches(arrows: &Arrows) -> Vec<String> {
    let mut found = Vec::new();
    for (from, targets) in arrows {
        let forbidden = FORBIDDEN.iter().find(|(importer, _)| *importer == layer(from)).map_or(&[][..], |row| row.1);
        for (to, names) in targets.iter().filter(|(to, _)| forbidden.contains(&layer(to))) {
            found.push(format!("{from} ({:?}) must not import {to} ({:?}): {names:?}", layer(from), layer(to)));
        }
    }
    found
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn arrows_of_this_crate() -> Arrows {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    rust_files(&top.join("src"), &mut paths);
    let texts: Vec<(String, String)> = paths
        .iter()
        .map(|path| (path.strip_prefix(top).unwrap().display().to_string(), fs::read_to_string(path).unwrap()))
        .collect();
    let texts: Vec<(&str, &str)> = texts.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    Crate::read(&texts).arrows()
}

#[test]
fn no_import_cycles_between_files() {
    let arrows = arrows_of_this_crate();
    let wrong: Vec<String> = circles(&arrows).iter().map(|circle| shown(circle, &arrows)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_import_cycles_between_modules_of_a_folder() {
    let wrong = circles_of_parts(&arrows_of_this_crate());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_imports_from_a_higher_layer() {
    let breaches = breaches(&arrows_of_this_crate());
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

/// The edges of a crate, each as `from -> to: names`.
fn lines(files: &[(&str, &str)]) -> Vec<String> {
    let mut found = Vec::new();
    for (from, targets) in Crate::read(files).arrows() {
        for (to, names) in targets {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            found.push(format!("{from} -> {to}: {}", names.join(" ")));
        }
    }
    found
}

#[test]
fn every_form_of_import_makes_an_edge() {
    let top = ("src/lib.rs", "pub mod a;\npub mod b;\n");
    let b = ("src/b.rs", "mod deep;\npub use self::deep::Deep;\npub struct Item;\npub fn call() {}\n");
    let deep = ("src/b/deep.rs", "pub struct Deep;\npub const MOST: u8 = 1;\n");
    let cases = [
        ("use crate::b::Item;", "b.rs: Item"),
        ("use super::b::{self, Item as Other};", "b.rs: Item"),
        ("use crate::{b::{Item, call}};", "b.rs: Item call"),
        ("use crate::b;\nfn f() { b::call(); }", "b.rs: call"),
        ("fn f() { crate::b::call(); }", "b.rs: call"),
        ("fn f() -> super::b::Item { loop {} }", "b.rs: Item"),
        ("fn f() { use crate::b::*; call(); }", "b.rs: call"),
        ("use crate::b::Deep;", "b/deep.rs: Deep"),
        ("use crate::b;\nfn f(_: b::Deep) {}", "b/deep.rs: Deep"),
        ("pub use crate::b::deep::MOST;\nconst TWICE: u8 = 2 * MOST;", "b/deep.rs: MOST"),
        ("use crate::b::made_by_a_macro;", "b.rs: made_by_a_macro"),
    ];
    for (text, expected) in cases {
        assert_eq!(lines(&[top, ("src/a.rs", text), b, deep]), [format!("src/a.rs -> src/{expected}")], "{text}");
    }
    let parent = "mod child;\npub fn call() {}\n";
    let child = "use super::call;\n";
    let files = [("src/lib.rs", "mod a;"), ("src/a.rs", parent), ("src/a/child.rs", child)];
    assert_eq!(lines(&files), ["src/a/child.rs -> src/a.rs: call"]);
}

#[test]
fn other_text_makes_no_edge() {
    let cases = [
        "mod child;",
        "mod child;\npub use child::{Item, call};",
        "mod child;\n// child::call()\nconst A: &str = \"child::call()\";\nconst B: &str = r#\"child::call()\"#;",
        "mod child;\n#[cfg(test)]\nuse child::Item;",
        "mod child;\n#[cfg(test)]\nmod tests {\n    use super::child::Item;\n}",
        "mod child;\nfn f<'child>(at: &'child u8) -> impl Sized + use<'child> { at.child; '\\''; at }",
        "mod child;\nuse std::child::Item;",
    ];
    for text in cases {
        let files =
            [("src/lib.rs", "mod a;"), ("src/a.rs", text), ("src/a/child.rs", "pub struct Item;\npub fn call() {}")];
        assert_eq!(lines(&files), Vec::<String>::new(), "{text}");
    }
    let top = "mod a;\n#[cfg(test)]\nmod sim;\n";
    let sim = "use crate::a::Item;\n";
    assert_eq!(lines(&[("src/lib.rs", top), ("src/a.rs", "pub struct Item;"), ("src/sim.rs", sim)]), [""; 0]);
}

#[test]
fn each_rule_can_fail() {
    let top = ("src/lib.rs", "mod a;\nmod b;\nmod c;\nmod d;\n");
    let files = [
        top,
        ("src/a.rs", "use crate::b::B;\npub struct A;\n"),
        ("src/b.rs", "use crate::c::C;\npub struct B;\n"),
        ("src/c.rs", "pub struct C(super::a::A);\n"),
        ("src/d.rs", "use crate::a::A;\n"),
    ];
    let arrows = Crate::read(&files).arrows();
    let circles = circles(&arrows);
    assert_eq!(circles.len(), 1);
    let expected = "circle of 3:\n  src/a.rs -> src/b.rs: B\n  src/b.rs -> src/c.rs: C\n  src/c.rs -> src/a.rs: A";
    assert_eq!(shown(&circles[0], &arrows), expected);

    // A cycle of two folders that is no cycle of files.
    let files = [
        ("src/lib.rs", "mod a;\nmod b;\n"),
        ("src/a.rs", "mod one;\nmod two;\n"),
        ("src/a/one.rs", "use crate::b::one::One;\n"),
        ("src/a/two.rs", "pub struct Two;\n"),
        ("src/b.rs", "pub mod one;\nmod two;\n"),
        ("src/b/one.rs", "pub struct One;\n"),
        ("src/b/two.rs", "use crate::a::two::Two;\n"),
    ];
    let arrows = Crate::read(&files).arrows();
    assert_eq!(circles_of_parts(&arrows), ["circle of 2:\n  src/a -> src/b: One\n  src/b -> src/a: Two"]);

    let modules = ["cli", "console", "dashboard", "headless", "net", "plan", "route", "ui"];
    let all = modules.map(|name| format!("mod {name};\n")).concat();
    let forbidden = [
        ("route", &["cli", "console", "dashboard", "headless", "net", "plan", "ui"][..]),
        ("cli", &["console", "dashboard", "headless", "net", "plan", "ui"]),
        ("net", &["cli", "console", "dashboard", "headless", "plan", "ui"]),
        ("ui", &["cli", "console", "dashboard", "headless", "net", "plan"]),
        ("dashboard", &[]),
    ];
    for (from, expected) in forbidden {
        let path = |name: &str| format!("src/{name}.rs");
        let uses = modules.map(|to| format!("use crate::{to}::Item;\n")).concat();
        let files: Vec<(String, String)> = modules
            .iter()
            .map(|name| (path(name), if *name == from { uses.clone() } else { "pub struct Item;".to_owned() }))
            .chain([("src/lib.rs".to_owned(), all.clone())])
            .collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let found = breaches(&Crate::read(&files).arrows());
        assert_eq!(found.len(), expected.len(), "{from}: {found:?}");
        for (line, to) in found.iter().zip(expected) {
            assert!(line.starts_with(&format!("src/{from}.rs (")) && line.contains(&path(to)), "{line}");
        }
    }
}

//! The modules as a graph: no circle of files, and no import against the layers.
//!
//! An arrow leads from a file to each file that defines what its code uses. `mod child;` and a `pub use` that the file
//! itself has no use for make no arrow; unit tests do not count. Methods are not seen: they need no import.

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use self::source::Source;

/// Where circles are left; a circle passes if the names of all its files begin with the same one of these.
const CIRCLES_LEFT: &[&str] = &["src/net/"];
/// The layers that join the others.
const APP: &[&str] = &["main", "console", "dashboard", "headless", "plan"];
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

/// A module by its path from the root of the crate, which is empty.
type Module = Vec<String>;
/// From a file to the files it uses, each with the names that it takes from there.
type Arrows = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Module(Module),
    Item(Module, String),
}

/// All source files of the crate without those that only tests are compiled with.
#[derive(Debug)]
struct Crate {
    files: BTreeMap<Module, (String, Source)>,
}

impl Crate {
    /// Takes files as pairs of path and text; `src/main.rs` stands beside the other modules.
    fn read(files: &[(&str, &str)]) -> Self {
        let module = |path: &str| -> Module {
            let stem = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
            if stem == "lib" { Vec::new() } else { stem.split('/').map(str::to_owned).collect() }
        };
        let read = |(path, text): &(&str, &str)| (module(path), ((*path).to_owned(), Source::read(text)));
        let mut files: BTreeMap<Module, (String, Source)> = files.iter().map(read).collect();
        let declared: BTreeSet<Module> = files
            .iter()
            .flat_map(|(module, (_, source))| source.children.iter().map(|child| with(module, child)))
            .collect();
        let is_declared = |module: &Module| (1..=module.len()).all(|depth| declared.contains(&module[..depth]));
        files.retain(|module, _| module.is_empty() || *module == ["main"] || is_declared(module));
        Self { files }
    }

    /// Follows a path from a module to what it leads to; `None` outside the crate.
    fn resolve(&self, from: &Module, path: &[String], mut steps: usize) -> Option<Target> {
        steps = steps.checked_sub(1)?;
        let mut module = from.clone();
        let mut rest = path;
        let mut inside = false;
        while let Some((first, after)) = rest.split_first() {
            match first.as_str() {
                "crate" | "chainview" => module.clear(),
                "super" => drop(module.pop()),
                "self" => {}
                _ => break,
            }
            (rest, inside) = (after, true);
        }
        let Some((first, after)) = rest.split_first() else { return Some(Target::Module(module)) };
        let (_, source) = self.files.get(&module)?;
        if source.children.contains(first) && !(after.is_empty() && source.items.contains(first)) {
            return self.beyond(Target::Module(with(&module, first)), after, steps);
        }
        if source.items.contains(first) {
            return Some(Target::Item(module, first.clone()));
        }
        for import in source.imports.iter().filter(|import| import.name == *first && import.path != [first.clone()]) {
            if let Some(target) = self.resolve(&module, &import.path, steps) {
                return self.beyond(target, after, steps);
            }
        }
        for import in source.imports.iter().filter(|import| import.name == "*") {
            if let Some(Target::Module(glob)) = self.resolve(&module, &import.path, steps)
                && let Some(target) = self.resolve(&glob, &with(&vec!["self".to_owned()], first), steps)
                && !matches!(&target, Target::Item(defined, _) if !self.defines(defined, first))
            {
                return self.beyond(target, after, steps);
            }
        }
        // What is not seen here, such as an item that a macro makes, is of the module that the path names.
        inside.then(|| Target::Item(module, first.clone()))
    }

    fn defines(&self, module: &Module, name: &str) -> bool {
        self.files.get(module).is_some_and(|(_, source)| source.items.contains(name))
    }

    fn beyond(&self, target: Target, after: &[String], steps: usize) -> Option<Target> {
        match target {
            Target::Module(module) if !after.is_empty() => {
                let path: Vec<String> = std::iter::once("self".to_owned()).chain(after.iter().cloned()).collect();
                self.resolve(&module, &path, steps)
            }
            other => Some(other),
        }
    }

    fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        let mut add = |from: &str, target: Option<Target>| {
            if let Some(Target::Item(module, name)) = target
                && let Some((to, _)) = self.files.get(&module)
                && to != from
            {
                arrows.entry(from.to_owned()).or_default().entry(to.clone()).or_default().insert(name);
            }
        };
        for (module, (file, source)) in &self.files {
            for import in &source.imports {
                // The items of a module, and what a file only passes on, count where the code has their names.
                if !import.public && import.name != "*" {
                    add(file, self.resolve(module, &import.path, 16));
                }
            }
            for path in &source.paths {
                add(file, self.resolve(module, path, 16));
            }
        }
        arrows
    }
}

fn with(module: &Module, child: &str) -> Module {
    module.iter().cloned().chain([child.to_owned()]).collect()
}

/// Files that can be reached from a file along the arrows.
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

/// A circle with the names that tie it, one arrow a line.
fn shown(circle: &BTreeSet<String>, arrows: &Arrows) -> String {
    let mut text = format!("circle of {} files:", circle.len());
    for from in circle {
        for (to, names) in arrows[from].iter().filter(|(to, _)| circle.contains(*to)) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let _ = write!(text, "\n  {from} -> {to}: {}", names.join(", "));
        }
    }
    text
}

/// Arrows against the layers.
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

/// The start of the names of a circle's files, if it is one of those where circles are left.
fn left<'a>(circle: &BTreeSet<String>, starts: &[&'a str]) -> Option<&'a str> {
    starts.iter().find(|start| circle.iter().all(|file| file.starts_with(**start))).copied()
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let arrows = arrows_of_this_crate();
    let circles = circles(&arrows);
    let wrong: Vec<String> = circles
        .iter()
        .filter(|circle| left(circle, CIRCLES_LEFT).is_none())
        .map(|circle| shown(circle, &arrows))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for start in CIRCLES_LEFT {
        let used = circles.iter().any(|circle| left(circle, CIRCLES_LEFT) == Some(*start));
        assert!(used, "no circle is left below {start}: remove it from CIRCLES_LEFT");
    }
}

#[test]
fn no_file_imports_a_layer_above_it() {
    let breaches = breaches(&arrows_of_this_crate());
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

/// The arrows of a crate, each as `from -> to: names`.
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
fn every_way_to_name_an_item_makes_an_arrow_to_its_file() {
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
fn what_is_no_use_makes_no_arrow() {
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
    let expected =
        "circle of 3 files:\n  src/a.rs -> src/b.rs: B\n  src/b.rs -> src/c.rs: C\n  src/c.rs -> src/a.rs: A";
    assert_eq!(shown(&circles[0], &arrows), expected);
    assert_eq!(left(&circles[0], &["src/a"]), None);
    assert_eq!(left(&circles[0], &["src/a", "src/"]), Some("src/"));

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

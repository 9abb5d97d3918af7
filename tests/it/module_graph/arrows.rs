//! The files of a crate, and the edges from each to those that define what it uses.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Source;

/// A module by its path from the root of the crate, which is empty.
type Module = Vec<String>;
/// From a file to the files it uses, each with the names that it imports from there.
pub(super) type Arrows = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// The target of a path.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Module(Module),
    Item(Module, String),
}

/// All source files of the crate without those that only tests are compiled with.
#[derive(Debug)]
pub(super) struct Crate {
    files: BTreeMap<Module, (String, Source)>,
}

impl Crate {
    /// Builds it from pairs of path and text; `src/main.rs` is beside the other modules.
    pub(super) fn read(files: &[(&str, &str)]) -> Self {
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

    /// Resolves a path from a module; `None` outside the crate.
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
        // An item that is not found here, such as one that a macro defines, belongs to the module that the path names.
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

    pub(super) fn arrows(&self) -> Arrows {
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
                // The items of a module, and what a file only re-exports, count where the code has their names.
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

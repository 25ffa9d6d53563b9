//! Reads who imports whom, and holds the parts of the code to having no cycle: neither the crates' top modules nor what lies inside one of
//! them. A module and its own face (`mod.rs`) are one part. Reads text, not meaning: what a macro makes of a name it does not see.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, none, sources};

/// The crates whose modules import each other, by the names they have in paths.
const CRATES: [(&str, &str); 4] =
    [("doorbuster", "src"), ("doorbuster_core", "core/src"), ("doorbuster_migrations", "migrations/src"), ("loadtest", "loadtest/src")];

/// A module: its crate and the names that lead to it.
type Module = (usize, Vec<String>);

/// A file's tokens that matter: names, `::` as one, and the rest one by one.
fn tokens(text: &str) -> Vec<String> {
    let (mut tokens, mut rest): (Vec<String>, &str) = (Vec::new(), text);
    while let Some(first) = rest.chars().next() {
        let taken = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(raw) = rest.strip_prefix("r#\"") {
            raw.find("\"#").map_or(rest.len(), |end| 3 + end + 2)
        } else if first == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let is_end = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                is_end
            });
            end.map_or(rest.len(), |end| end + 2)
        } else if first == '\'' && rest[1..].find('\'').is_some_and(|end| (1..=9).contains(&end) && is_letter(&rest[1..=end])) {
            rest[1..].find('\'').unwrap_or_default() + 2
        } else if first.is_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push(rest[..end].to_owned());
            end
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[taken..];
    }
    tokens
}

/// Whether that is what stands in a character's quotes, and not a lifetime and what follows it.
fn is_letter(text: &str) -> bool {
    text.starts_with('\\') || text.chars().count() == 1
}

/// The same without what is compiled for tests alone.
fn without_tests(tokens: Vec<String>) -> Vec<String> {
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let is_test = tokens[at..].iter().take(6).map(String::as_str).eq(["#", "[", "cfg", "(", "test", ")"]);
        if !is_test {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let mut depth = 0;
        at += 7;
        while at < tokens.len() {
            match tokens[at].as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            at += 1;
            if depth == 0 && matches!(tokens[at - 1].as_str(), "}" | ";") {
                break;
            }
        }
    }
    kept
}

/// What one file imports and defines.
#[derive(Default)]
struct Imports {
    /// Each imported path with the name it has here, and whether it is handed on.
    uses: Vec<(Vec<String>, String, bool)>,
    /// Paths that stand in the code.
    paths: Vec<Vec<String>>,
    names: BTreeSet<String>,
    defined: BTreeSet<String>,
}

impl Imports {
    fn of(tokens: &[String]) -> Self {
        const ITEMS: [&str; 9] = ["struct", "enum", "trait", "fn", "type", "const", "static", "mod", "union"];
        let (mut imports, mut at, mut is_public) = (Self::default(), 0, false);
        while at < tokens.len() {
            match tokens[at].as_str() {
                "use" => {
                    at += 1;
                    imports.tree(tokens, &mut at, &[], is_public);
                    is_public = false;
                }
                "pub" => is_public = true,
                word => {
                    if ITEMS.contains(&word) {
                        imports.defined.extend(tokens.get(at + 1).cloned());
                    }
                    if is_name(word) {
                        is_public &= ["crate", "in", "super", "self"].contains(&word) || at > 0 && tokens[at - 1] == "::";
                        let path = path_at(tokens, at);
                        if path.len() > 1 && (at == 0 || tokens[at - 1] != "::") {
                            imports.paths.push(path);
                        }
                        imports.names.insert(word.to_owned());
                    }
                }
            }
            at += 1;
        }
        imports
    }

    /// A tree of imports, from behind `use` or inside braces, to its end.
    fn tree(&mut self, tokens: &[String], at: &mut usize, before: &[String], is_public: bool) {
        let mut path = before.to_vec();
        while let Some(token) = tokens.get(*at) {
            match token.as_str() {
                "{" => {
                    *at += 1;
                    while tokens.get(*at).is_some_and(|token| token != "}") {
                        self.tree(tokens, at, &path, is_public);
                        *at += usize::from(tokens.get(*at).is_some_and(|token| token == ","));
                    }
                    *at += 1;
                    return;
                }
                "as" => {
                    let name = tokens.get(*at + 1).cloned().unwrap_or_default();
                    *at += 2;
                    return self.uses.push((path, name, is_public));
                }
                "::" => {}
                "," | "}" | ";" => break,
                _ => path.push(token.clone()),
            }
            *at += 1;
        }
        if path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let name = path.last().cloned().unwrap_or_default();
        self.uses.push((path, name, is_public));
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn path_at(tokens: &[String], at: usize) -> Vec<String> {
    let mut path = vec![tokens[at].clone()];
    let mut at = at + 1;
    while tokens.get(at).is_some_and(|token| token == "::") && tokens.get(at + 1).is_some_and(|token| is_name(token)) {
        path.push(tokens[at + 1].clone());
        at += 2;
    }
    path
}

/// All files that are no tests, and where they are.
struct Modules {
    imports: BTreeMap<Module, Imports>,
    files: BTreeMap<Module, String>,
}

impl Modules {
    fn read() -> Self {
        let mut modules = Self { imports: BTreeMap::new(), files: BTreeMap::new() };
        for Source { path, text } in sources() {
            let Some((krate, rest)) = CRATES
                .iter()
                .enumerate()
                .find_map(|(at, (_, root))| path.strip_prefix(root).and_then(|rest| rest.strip_prefix('/')).map(|rest| (at, rest)))
            else {
                continue;
            };
            let mut names: Vec<String> = rest.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
            let is_test =
                |name: &String| matches!(name.as_str(), "tests" | "tidy" | "samples" | "shuttled" | "main") || name.ends_with("_tests");
            if names.iter().any(is_test) {
                continue;
            }
            if matches!(names.last().map(String::as_str), Some("mod" | "lib")) {
                names.pop();
            }
            modules.imports.insert((krate, names.clone()), Imports::of(&without_tests(tokens(&text))));
            modules.files.insert((krate, names), path);
        }
        modules
    }

    /// A path as it stands in a module, from a crate's root.
    fn absolute(&self, (krate, module): &Module, path: &[String]) -> Option<Module> {
        let first = path.first()?.as_str();
        if let Some(other) = CRATES.iter().position(|(name, _)| *name == first) {
            return Some((other, path[1..].to_vec()));
        }
        let (mut base, mut rest) = (module.clone(), path);
        match first {
            "crate" => (base, rest) = (Vec::new(), &path[1..]),
            "self" => rest = &path[1..],
            "super" => {
                while rest.first().is_some_and(|name| name == "super") {
                    base.pop();
                    rest = &rest[1..];
                }
            }
            child => {
                base.push(child.to_owned());
                let is_module = self.imports.contains_key(&(*krate, base.clone()));
                base.pop();
                if !is_module {
                    return None;
                }
            }
        }
        base.extend_from_slice(rest);
        Some((*krate, base))
    }

    /// The module that defines what a path names, through whoever hands it on.
    fn resolve(&self, (krate, path): &Module, steps: usize) -> Option<Module> {
        let depth = (0..=path.len()).rev().find(|depth| self.imports.contains_key(&(*krate, path[..*depth].to_vec())))?;
        let module = (*krate, path[..depth].to_vec());
        let Some(name) = path.get(depth) else { return Some(module) };
        let imports = &self.imports[&module];
        if imports.defined.contains(name) || steps == 0 {
            return Some(module);
        }
        for (target, alias, _) in &imports.uses {
            let is_star = alias == "*";
            if alias == name || is_star {
                let base = if is_star { &target[..target.len() - 1] } else { target };
                let Some((other, mut whole)) = self.absolute(&module, base) else { continue };
                whole.extend_from_slice(if is_star { &path[depth..] } else { &path[depth + 1..] });
                let found = self.resolve(&(other, whole), steps - 1)?;
                if !is_star || self.imports[&found].defined.contains(name) {
                    return Some(found);
                }
            }
        }
        Some(module)
    }

    /// Every import between two files.
    fn arrows(&self) -> BTreeSet<(&Module, Module)> {
        const STEPS: usize = 8;
        let mut arrows = BTreeSet::new();
        for (module, imports) in &self.imports {
            // What is only handed on is nobody's import here.
            let uses = imports.uses.iter().filter(|(_, name, is_public)| !is_public || imports.names.contains(name));
            let uses = uses.map(|(path, name, _)| if name == "*" { &path[..path.len() - 1] } else { &path[..] });
            for path in uses.chain(imports.paths.iter().map(Vec::as_slice)) {
                let found = self.absolute(module, path).and_then(|path| self.resolve(&path, STEPS));
                arrows.extend(found.filter(|found| found != module).map(|found| (module, found)));
            }
        }
        arrows
    }
}

/// The cycles among siblings under one module, with an import for each step.
fn cycles(modules: &Modules) -> Vec<String> {
    let arrows = modules.arrows();
    let mut levels: BTreeMap<Module, BTreeMap<String, BTreeMap<String, String>>> = BTreeMap::new();
    for ((krate, from), (other, to)) in &arrows {
        let common = from.iter().zip(to).take_while(|(a, b)| a == b).count();
        if krate != other || common == from.len() || common == to.len() {
            continue;
        }
        let words = format!("{} -> {}", modules.files[&(*krate, from.clone())], modules.files[&(*other, to.clone())]);
        let level = levels.entry((*krate, from[..common].to_vec())).or_default();
        level.entry(from[common].clone()).or_default().entry(to[common].clone()).or_insert(words);
    }
    let mut found = Vec::new();
    for level in levels.values() {
        for start in level.keys() {
            if let Some(steps) = path_back(level, start) {
                found.push(steps.join(", "));
            }
        }
    }
    found
}

/// The shortest path from a part back to itself.
fn path_back(level: &BTreeMap<String, BTreeMap<String, String>>, start: &str) -> Option<Vec<String>> {
    let (mut seen, mut paths) = (BTreeSet::new(), vec![(start.to_owned(), Vec::new())]);
    while !paths.is_empty() {
        let mut next = Vec::new();
        for (part, steps) in paths {
            for (to, words) in level.get(&part).into_iter().flatten() {
                let steps: Vec<String> = steps.iter().cloned().chain([words.clone()]).collect();
                if to == start {
                    return Some(steps);
                }
                if seen.insert(to.clone()) {
                    next.push((to.clone(), steps));
                }
            }
        }
        paths = next;
    }
    None
}

#[test]
fn nothing_is_imported_in_a_cycle() {
    let modules = Modules::read();
    assert!(modules.arrows().len() > 500, "imports are found");
    none(cycles(&modules));
}

#[test]
fn imports_are_read_as_they_are_written() {
    let text = "
        use std::fmt; // use crate::not;
        pub use inner::{Kept as Renamed, deeper::*};
        use crate::a::{self, b::C};
        #[cfg(test)]
        mod tests { use crate::d; }
        fn f<'a>(x: &'a str) -> char { super::e::g(\"crate::h\"); 'x' }
    ";
    let imports = Imports::of(&without_tests(tokens(text)));
    let shown: Vec<(String, &str, bool)> =
        imports.uses.iter().map(|(path, name, is_public)| (path.join("::"), name.as_str(), *is_public)).collect();
    let expected = [
        ("std::fmt", "fmt", false),
        ("inner::Kept", "Renamed", true),
        ("inner::deeper::*", "*", true),
        ("crate::a", "a", false),
        ("crate::a::b::C", "C", false),
    ];
    assert_eq!(shown, expected.map(|(path, name, is_public)| (path.to_owned(), name, is_public)));
    assert_eq!(imports.paths, [["super", "e", "g"].map(str::to_owned).to_vec()]);
    assert!(imports.defined.contains("f") && !imports.names.contains("h"));
}

//! Which file of `src/` names what of which other, and the circles among them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A module's or an item's path from the crate's root.
type Path = Vec<String>;

/// For each file, the files that it names something of, and the name of one such thing.
pub(crate) type Graph = BTreeMap<String, BTreeMap<String, String>>;

/// The graph of files, given as their names inside `src/` and their texts. A name that is only handed on (`pub use`) leads
/// to where it comes from, and makes no edge of the file that hands it on, unless that file's own code uses it too.
pub(crate) fn graph<'a>(sources: impl IntoIterator<Item = (&'a str, &'a str)>) -> Graph {
    let sources = sources.into_iter().map(|(file, text)| (module_of(file), (file, text)));
    let sources: BTreeMap<Path, (&str, &str)> = sources.collect();
    let modules: BTreeSet<Path> = sources.keys().cloned().collect();
    let files: BTreeMap<&Path, File> =
        sources.iter().map(|(module, (_, text))| (module, File::read(module, text, &modules))).collect();
    let mut graph = Graph::new();
    for (module, file) in &files {
        let names = graph.entry(sources[*module].0.to_owned()).or_default();
        for path in &file.named {
            let owner = owner(path, &files);
            if owner != *module {
                names.entry(sources[owner].0.to_owned()).or_insert_with(|| path.join("::"));
            }
        }
    }
    graph
}

/// The shortest way from each file back to itself, each circle once, as `a.rs names x of b.rs names y of a.rs`.
pub(crate) fn circles(graph: &Graph) -> Vec<String> {
    let mut found = BTreeMap::new();
    for start in graph.keys() {
        let mut from: BTreeMap<&String, &String> = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(file) = queue.pop_front() {
            for next in graph[file].keys() {
                if !from.contains_key(next) {
                    from.insert(next, file);
                    queue.push_back(next);
                }
            }
        }
        if from.contains_key(start) {
            let mut circle = vec![start];
            while circle.len() == 1 || circle[circle.len() - 1] != start {
                circle.push(from[circle[circle.len() - 1]]);
            }
            circle.reverse();
            let steps = circle.windows(2).map(|step| format!(" names {} of {}", graph[step[0]][step[1]], step[1]));
            let text = format!("{start}{}", steps.collect::<String>());
            let members: BTreeSet<_> = circle.into_iter().collect();
            found.entry(members).or_insert(text);
        }
    }
    found.into_values().collect()
}

fn module_of(file: &str) -> Path {
    let path = file.strip_suffix(".rs").expect("a source file");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

/// The module whose file has what this path leads to.
fn owner<'a>(path: &[String], files: &BTreeMap<&'a Path, File>) -> &'a Path {
    let mut path = path.to_vec();
    // No chain of `pub use` is as long as that.
    for _ in 0..20 {
        let depth = (0..=path.len()).rev().find(|&depth| files.contains_key(&path[..depth].to_vec()));
        let depth = depth.expect("the crate's root is a file");
        let (module, file) = files.get_key_value(&path[..depth].to_vec()).expect("just found");
        match path.get(depth).and_then(|name| file.imported.get(name)) {
            Some(elsewhere) => path = [elsewhere, &path[depth + 1..]].concat(),
            None => return module,
        }
    }
    panic!("{path:?} leads nowhere")
}

/// What one file says.
#[derive(Default)]
struct File {
    /// Names that `use` gives to paths of this crate.
    imported: BTreeMap<String, Path>,
    /// Paths of this crate that the file's code needs.
    named: BTreeSet<Path>,
}

impl File {
    fn read(module: &Path, text: &str, modules: &BTreeSet<Path>) -> Self {
        let tokens = tokens(text);
        let mut file = Self::default();
        let mut words = BTreeSet::new();
        let mut handed_on = BTreeSet::new();
        // Names that stand before `::`, which may be imported further down.
        let mut begun = BTreeSet::new();
        // The module that the text is in, which is the file's own or one within it, and where each of those ends.
        let (mut here, mut ends) = (module.clone(), Vec::new());
        let mut depth = 0;
        let mut at = 0;
        while at < tokens.len() {
            match tokens[at] {
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    if ends.last() == Some(&depth) {
                        ends.pop();
                        here.pop();
                    }
                }
                "mod" if tokens.get(at + 2) == Some(&"{") => {
                    if tokens[at + 1].ends_with("tests") {
                        // Tests inside the sources may name what they like.
                        at = closing(&tokens, at + 2) + 1;
                        continue;
                    }
                    ends.push(depth);
                    here.push(tokens[at + 1].to_owned());
                    at += 2;
                    continue;
                }
                "mod" if tokens.get(at + 2) == Some(&";") => at += 2,
                // `pub(in crate::a)` names nothing.
                "in" if at > 1 && tokens[at - 2..at] == ["pub", "("] => {
                    at += tokens[at..].iter().position(|token| *token == ")").expect("a parenthesis ends");
                }
                "use" => {
                    let end = at + tokens[at..].iter().position(|token| *token == ";").expect("`use` ends");
                    let public = at > 0 && (tokens[at - 1] == "pub" || tokens[at - 1] == ")");
                    let own = here == *module;
                    for (path, name) in expanded(&tokens[at + 1..end]) {
                        let Some(path) = absolute(&path, &here, modules) else { continue };
                        if own && public {
                            handed_on.insert(name.clone());
                        } else if !modules.contains(&path) {
                            file.named.insert(path.clone());
                        }
                        if own {
                            file.imported.insert(name, path);
                        }
                    }
                    at = end;
                }
                first if is_name(first) && (at == 0 || tokens[at - 1] != "::") => {
                    let mut path = vec![first];
                    while tokens.get(at + 1) == Some(&"::") && tokens.get(at + 2).is_some_and(|next| is_name(next)) {
                        path.push(tokens[at + 2]);
                        at += 2;
                    }
                    words.insert(first);
                    // `pub(super)` names nothing.
                    if path.len() > 1 && path.iter().any(|name| !["crate", "self", "super"].contains(name)) {
                        begun.insert((here.clone(), path));
                    }
                }
                _ => {}
            }
            at += 1;
        }
        for (here, path) in begun {
            if let Some(start) = file.imported.get(path[0]) {
                let rest = path[1..].iter().map(|name| (*name).to_owned());
                file.named.insert(start.iter().cloned().chain(rest).collect());
            } else if let Some(path) = absolute(&path, &here, modules) {
                file.named.insert(path);
            }
        }
        let used = handed_on.iter().filter(|name| words.contains(name.as_str()));
        file.named.extend(used.map(|name| file.imported[name].clone()));
        file
    }
}

/// A path as seen from the root, if it is one of this crate.
fn absolute(path: &[&str], here: &Path, modules: &BTreeSet<Path>) -> Option<Path> {
    let (mut base, mut rest) = match path[0] {
        "crate" => (Vec::new(), &path[1..]),
        "self" => (here.clone(), &path[1..]),
        "super" => (here.clone(), path),
        child => {
            let inside = [&here[..], &[child.to_owned()]].concat();
            if !modules.contains(&inside) {
                return None;
            }
            (here.clone(), path)
        }
    };
    while let ["super", after @ ..] = rest {
        base.pop();
        rest = after;
    }
    base.extend(rest.iter().filter(|name| **name != "self").map(|name| (*name).to_owned()));
    Some(base)
}

/// The paths of a `use`, one by one, each with the name that it gets.
fn expanded<'a>(tokens: &[&'a str]) -> Vec<(Vec<&'a str>, String)> {
    let mut path: Vec<&str> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at] {
            "::" => {}
            "{" => {
                let inside = &tokens[at + 1..closing(tokens, at)];
                let (mut start, mut depth, mut found) = (0, 0, Vec::new());
                for (end, token) in inside.iter().copied().chain([","]).enumerate() {
                    match token {
                        "{" => depth += 1,
                        "}" => depth -= 1,
                        "," if depth == 0 => {
                            if start < end {
                                found.extend(expanded(&inside[start..end]));
                            }
                            start = end + 1;
                        }
                        _ => {}
                    }
                }
                let whole = |(rest, name): (Vec<&'a str>, String)| {
                    let name = if rest == ["self"] { path[path.len() - 1].to_owned() } else { name };
                    ([&path[..], &rest].concat(), name)
                };
                return found.into_iter().map(whole).collect();
            }
            "as" => return vec![(path, tokens[at + 1].to_owned())],
            "*" => {}
            name => path.push(name),
        }
        at += 1;
    }
    let name = path[path.len() - 1].to_owned();
    vec![(path, name)]
}

/// Where the brace that is opened here is closed.
pub(crate) fn closing(tokens: &[&str], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match *token {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len()
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names, `::` and single characters; without comments, texts and lifetimes.
pub(crate) fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end_of_name = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("r\"") || rest.starts_with("r#\"") || rest.starts_with("r##\"") {
            let opening = rest.find('"').expect("just seen");
            let closing = format!("\"{}", "#".repeat(opening - 1));
            opening + 1 + rest[opening + 1..].find(&closing).expect("a text ends") + closing.len()
        } else if first == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            end.expect("a text ends") + 2
        } else if rest.starts_with("'\\") {
            3 + rest[3..].find('\'').expect("a character ends")
        } else if first == '\'' {
            let mut after = rest.char_indices().skip(2);
            match after.next() {
                Some((at, '\'')) => at + 1,
                _ => 1,
            }
        } else if end_of_name > 0 {
            tokens.push(&rest[..end_of_name]);
            end_of_name
        } else if rest.starts_with("::") {
            tokens.push("::");
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(&rest[..first.len_utf8()]);
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::{circles, graph};

    /// The circles among files given as `name: text`.
    fn check(files: &[(&str, &str)], expected: &[&str]) {
        assert_eq!(circles(&graph(files.iter().copied())), expected, "{files:?}");
    }

    #[test]
    fn circles_are_found() {
        let none: &[&str] = &[];
        check(&[("lib.rs", "mod a; mod b;"), ("a.rs", "use crate::b::B;"), ("b.rs", "struct B;")], none);
        let circle = "a.rs names b::B of b.rs names a::A of a.rs";
        check(&[("lib.rs", ""), ("a.rs", "use crate::b::B;"), ("b.rs", "use super::a::A;")], &[circle]);
        // In braces, in the code, under another name, by way of a module's name, and in a module within.
        for code in [
            "use super::{c::C, a::{A, D}};",
            "fn b(_: super::a::A) {}",
            "use crate::{a::A as Other};",
            "use crate::a; fn b() -> a::A {}",
            "mod inside { use super::super::a::A; }",
        ] {
            check(&[("lib.rs", ""), ("a.rs", "use crate::b::B;"), ("b.rs", code), ("c.rs", "")], &[circle]);
        }
        // Not in comments, texts, tests, and not of other crates.
        for code in [
            "// use super::a::A;\n/* super::a::A */",
            "const B: &str = \"super::a::A\"; const C: char = '\"'; const D: &'static str = r#\"\"super::a::A\"#;",
            "#[cfg(test)] mod tests { use super::super::a::A; }",
            "use other::a::A; fn b() { ::a::A; other::a::A } pub(super) struct B; pub(in super::super) struct C; pub(in super::a) struct D;",
        ] {
            check(&[("lib.rs", ""), ("a.rs", "use crate::b::B;"), ("b.rs", code)], none);
        }
        let three = [("lib.rs", ""), ("a.rs", "use crate::b::B;"), ("b.rs", "use crate::c;"), ("c.rs", "")];
        check(&three, none);
        let three = [
            ("lib.rs", ""),
            ("a.rs", "use crate::b::B;"),
            ("b.rs", "use crate::c::C;"),
            ("c.rs", "impl C { fn a() { crate::a::a(); } }"),
        ];
        check(&three, &["a.rs names b::B of b.rs names c::C of c.rs names a::a of a.rs"]);
    }

    #[test]
    fn what_is_handed_on_counts_where_it_is() {
        // A folder hands on what its files have, and each of them uses what it has itself.
        let folder = |code| {
            [("lib.rs", "pub use http::B;"), ("http/mod.rs", code), ("http/b.rs", "use super::A;"), ("c.rs", "")]
        };
        check(&folder("mod b; pub use b::B; pub struct A;"), &[]);
        let circle = "http/b.rs names http::A of http/mod.rs names http::b::B of http/b.rs";
        check(&folder("mod b; use b::B; pub struct A;"), &[circle]);
        check(&folder("mod b; pub use b::B; pub struct A(B);"), &[circle]);
        check(&folder("mod b; pub struct A(b::B);"), &[circle]);
        // From elsewhere, through two hands.
        let files = [
            ("lib.rs", "pub use http::B;"),
            ("http/mod.rs", "mod b; pub use b::B; pub struct A;"),
            ("http/b.rs", "use crate::c::C;"),
            ("c.rs", "use crate::B;"),
        ];
        check(&files, &["c.rs names B of http/b.rs names c::C of c.rs"]);
    }
}

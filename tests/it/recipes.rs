//! The recipes of `docs/operations.md`: each is run by a script in `tests/recipes`, which has every line of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

/// Longest run of a recipe, in seconds: ten times what the slowest needs while other tests run.
const MAX_RUN: &str = "60";
/// Exit code of a recipe that needs a program that this machine lacks.
const SKIPPED: i32 = 77;
/// What may follow a line of the documentation in the script, after a blank: some programs run until they are ended.
const FOLLOWS: &[&str] = &["&", ">", "2>"];

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recipes").join(name)
}

/// The code of the recipe that names this script in the documentation: from there to the next heading.
fn documented(page: &str, script: &str) -> Vec<String> {
    let named = page.lines().skip_while(|line| !line.contains(script));
    let mut fenced = false;
    let mut code = Vec::new();
    for line in named {
        let fence = line.starts_with("```");
        fenced ^= fence;
        if !fenced && line.starts_with('#') {
            break;
        }
        // Comments are for the reader alone.
        let line = line.trim();
        if fenced && !fence && !line.is_empty() && !line.starts_with("# ") {
            code.push(line.to_owned());
        }
    }
    code
}

/// The lines of a script with the values of the documentation in the place of its variables.
fn rendered(script: &str) -> Vec<String> {
    let mut values: Vec<(String, &str)> = Vec::new();
    for line in script.lines() {
        if let Some(((name, _), value)) = line.split_once("  # docs: ").and_then(|(l, v)| Some((l.split_once('=')?, v)))
        {
            values.push((format!("${name}"), value));
        }
    }
    // `$KEY_A` before `$KEY`.
    values.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    let render =
        |line: &str| values.iter().fold(line.trim().to_owned(), |line, (name, value)| line.replace(name, value));
    script.lines().map(render).collect()
}

/// The first line of the documentation that the script does not have, behind the lines before it.
fn first_missing(documented: &[String], script: &[String]) -> Option<String> {
    let mut rest = script.iter();
    let is = |line: &str, wanted: &str| {
        let tail = line.strip_prefix(wanted).map(str::trim_start);
        tail.is_some_and(|tail| tail.is_empty() || FOLLOWS.iter().any(|follows| tail.starts_with(follows)))
    };
    documented.iter().find(|wanted| !rest.any(|line| is(line, wanted))).cloned()
}

/// Compares a recipe with its script, and runs that.
fn run(name: &str) {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md")).unwrap();
    let documented = documented(&page, &format!("tests/recipes/{name}"));
    assert!(documented.len() >= 5, "docs/operations.md has no code for {name}");
    let missing = first_missing(&documented, &rendered(&fs::read_to_string(script(name)).unwrap()));
    assert_eq!(
        missing, None,
        "tests/recipes/{name} does not have this line of docs/operations.md, or not in its order"
    );

    let program = Path::new(env!("CARGO_BIN_EXE_chainview")).parent().unwrap();
    let path = format!("{}:{}", program.display(), env::var("PATH").unwrap());
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", MAX_RUN, "bash"]).arg(script(name));
    // Into a file: a pipe would wait for whatever the script has left running, too.
    let log = tempfile::NamedTempFile::new().unwrap();
    command.stdout(log.reopen().unwrap()).stderr(log.reopen().unwrap());
    let status = command.env("PATH", path).stdin(Stdio::null()).status().unwrap();
    let printed = fs::read_to_string(log.path()).unwrap();
    if status.code() == Some(SKIPPED) {
        return eprintln!("SKIPPED: {printed}");
    }
    assert!(status.success(), "{name}: {status}\n{printed}");
}

#[test]
fn two_sites_with_keys() {
    run("keys.sh");
}

#[test]
fn a_chain_behind_nginx() {
    run("nginx.sh");
}

#[test]
fn a_forwarder_of_ssh() {
    run("ssh.sh");
}

#[test]
fn curl_with_and_without_a_key() {
    run("curl.sh");
}

#[test]
fn a_line_that_only_the_documentation_has_is_found() {
    let page = "Run by `tests/recipes/x.sh`:\n\n```sh\n# A comment.\necho \"K a\" > keys\nprog --node 1.2.3.4:5\n```\n\n## Next\n```sh\nno\n```\n";
    let documented = documented(page, "tests/recipes/x.sh");
    assert_eq!(documented, ["echo \"K a\" > keys", "prog --node 1.2.3.4:5"]);
    let lines = |script: &str| first_missing(&documented, &rendered(script));
    assert_eq!(
        lines("KEY=$(x)  # docs: K\nA=1  # docs: 1.2.3.4:5\necho \"$KEY a\" > keys\nprog --node $A >/dev/null &\n"),
        None
    );
    let other = lines("KEY=$(x)  # docs: K\nA=1  # docs: 1.2.3.4:5\necho \"$KEY a\" > keys\nprog --node $A --list\n");
    assert_eq!(other.as_deref(), Some("prog --node 1.2.3.4:5"));
    let order = lines("A=1  # docs: 1.2.3.4:5\nprog --node $A\necho \"K a\" > keys\n");
    assert_eq!(order.as_deref(), Some("prog --node 1.2.3.4:5"));
}

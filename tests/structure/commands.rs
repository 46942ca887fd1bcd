//! Checks the commands in the documentation without running them: every object, path, program, subcommand and flag that
//! one names exists. `tests/kubernetes` also runs those of `docs/operations.md`.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, Stdio},
};

use pipeline_tests::{
    binaries,
    page::{Page, commands},
};

use crate::{objects::Objects, workspace};

/// Programs of Millrace, whose `--help` says what they take.
const PROGRAMS: [&str; 4] = ["millrace", "collector", "analyzer", "access-api"];

/// Commands of others, whose arguments are not looked at.
const OTHERS: [&str; 13] = [
    "curl",
    "cut",
    "done",
    "for",
    "grep",
    "jq",
    "kafka-configs.sh",
    "kafka-console-consumer.sh",
    "kafka-consumer-groups.sh",
    "kafka-run-class.sh",
    "kafka-topics.sh",
    "kill",
    "kind",
];

/// Where the files are that commands name.
const FOLDERS: [&str; 4] = ["deploy/", "docs/", "k8s/", "tests/"];

#[test]
fn a_command_in_the_documentation_names_only_what_exists() {
    let mut pages: Vec<PathBuf> =
        ["docs/operations.md", "docs/capacity.md", "k8s/README.md"].map(PathBuf::from).to_vec();
    let runbooks = std::fs::read_dir(workspace().join("docs/runbooks")).expect("runbooks");
    pages.extend(runbooks.map(|entry| entry.expect("a file").path()));
    let mut check =
        Check { objects: Objects::read(&workspace().join("k8s")), help: BTreeMap::new() };
    let (mut seen, mut problems) = (0, Vec::new());
    for path in pages {
        let page = Page::of(&std::fs::read_to_string(workspace().join(&path)).expect("a page"));
        let scripts = page.scripts.iter().flat_map(|script| {
            commands(&script.text).into_iter().map(|words| (script.line, words))
        });
        let spans = page.spans.iter().flat_map(|(line, span)| {
            // A name alone says nothing about arguments; a name with a shell's signs in it may be anything.
            let ours = |words: &Vec<String>| {
                words.len() > 1 && (words[0] == "kubectl" || is_ours(&words[0]))
            };
            commands(span).into_iter().filter(ours).map(|words| (*line, words))
        });
        for (line, words) in scripts.chain(spans) {
            seen += 1;
            let found = check.problems(&words);
            problems.extend(found.into_iter().map(|problem| {
                format!("{}, line {line}: {problem}: {}", path.display(), words.join(" "))
            }));
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
    assert!(seen > 50, "only {seen} commands were found");
}

#[test]
fn a_command_that_names_what_does_not_exist_is_found() {
    let mut check =
        Check { objects: Objects::read(&workspace().join("k8s")), help: BTreeMap::new() };
    let mut problems = |script: &str| -> Vec<String> {
        commands(script).iter().flat_map(|words| check.problems(words)).collect()
    };
    for right in [
        "kubectl -n millrace logs job/topics\n",
        "kubectl -n millrace delete pvc log-collector-0 --wait=false\n",
        "kubectl -n millrace rollout status statefulset/collector deployment/analyzer --timeout=5m\n",
        "kubectl apply -k k8s/overlays/dev\n",
        "kubectl drain NODE --ignore-daemonsets\n",
        "millrace tap topics --limit 3\n",
        "deploy/images --no-sbom\n",
    ] {
        assert_eq!(problems(right), Vec::<String>::new(), "{right}");
    }
    for wrong in [
        "kubectl -n millrace logs job/topic\n",
        "kubectl -n millrace delete pvc log-analyzer-0\n",
        "kubectl -n millrace rollout status deployment/collector\n",
        "kubectl -n millrace restart deployment/analyzer\n",
        "kubectl -n millrace rollout state deployment/analyzer\n",
        "kubectl apply -k k8s/overlays/development\n",
        "millrace tap --limits 3\n",
        "millrace taps\n",
        "deploy/images --without-sbom\n",
        "cubectl get pods\n",
    ] {
        assert_eq!(problems(wrong).len(), 1, "{wrong}: {:?}", problems(wrong));
    }
}

/// Whether it is a program or script of Millrace.
fn is_ours(word: &str) -> bool {
    PROGRAMS.contains(&word) || FOLDERS.iter().any(|folder| word.starts_with(folder))
}

struct Check {
    objects: Objects,
    /// What programs print about themselves, by the words of the command.
    help: BTreeMap<Vec<String>, Option<String>>,
}

impl Check {
    /// What is wrong with a command.
    fn problems(&mut self, words: &[String]) -> Vec<String> {
        // A variable that is set, alone or for a command, and what stands before a command in a loop or in a function.
        let prefix = |word: &&String| {
            ["do", "then", "{", "}"].contains(&word.as_str()) || is_assignment(word)
        };
        let words: Vec<&str> = words.iter().skip_while(prefix).map(String::as_str).collect();
        let Some((&program, arguments)) = words.split_first() else { return Vec::new() };
        let mut problems: Vec<String> = words.iter().copied().filter_map(missing_path).collect();
        match program {
            "kubectl" => match self.objects.missing(arguments) {
                Ok(missing) => {
                    problems.extend(missing.into_iter().map(|name| format!("no {name} in k8s/")))
                }
                Err(problem) => problems.push(problem),
            },
            _ if PROGRAMS.contains(&program) => {
                problems.extend(self.unknown_flags(program, arguments))
            }
            _ if OTHERS.contains(&program) => {}
            _ if is_ours(program) && problems.is_empty() => {
                let script = std::fs::read_to_string(workspace().join(program)).expect("a script");
                let unknown = |flag: &&str| !names(&script, flag);
                problems
                    .extend(flags(arguments).filter(unknown).map(|flag| format!("no flag {flag}")));
            }
            _ if is_ours(program) => {}
            _ => problems.push(format!("no command {program} is known here")),
        }
        problems
    }

    /// The first argument that the program's help does not know.
    fn unknown_flags(&mut self, program: &str, arguments: &[&str]) -> Option<String> {
        let subcommands = arguments.iter().take_while(|word| !word.starts_with('-')).take(2);
        let command: Vec<String> =
            [&program].into_iter().chain(subcommands).map(|&word| word.to_owned()).collect();
        let help = self.help.entry(command.clone()).or_insert_with(|| help(&command));
        let Some(help) = help else { return Some("no such subcommand".to_owned()) };
        let unknown = flags(arguments).find(|flag| !names(help, flag));
        unknown.map(|flag| format!("no flag {flag}"))
    }
}

/// What `--help` prints after these words, if the program takes them.
fn help(command: &[String]) -> Option<String> {
    let mut run = Command::new(binaries().join(&command[0]));
    let output = run.args(&command[1..]).arg("--help").stdin(Stdio::null()).output();
    let output = output.expect("running a program");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The flags among arguments, without their values.
fn flags<'a>(arguments: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    let flags = arguments.iter().filter(|word| word.starts_with('-') && word.len() > 1);
    flags.map(|flag| flag.split('=').next().unwrap_or(flag))
}

/// Whether a text names this flag, and not only a longer one.
fn names(text: &str, flag: &str) -> bool {
    text.match_indices(flag).any(|(at, _)| {
        let next = text[at + flag.len()..].chars().next();
        !next.is_some_and(|next| next.is_alphanumeric() || next == '-')
    })
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|sign| sign.is_ascii_alphanumeric() || sign == '_')
    })
}

/// Says that a file of the repository is missing, if the word is the path of one, also as the value of a flag.
fn missing_path(word: &str) -> Option<String> {
    let path = word.rsplit('=').next().unwrap_or(word);
    let named = FOLDERS.iter().any(|folder| path.starts_with(folder));
    (named && !workspace().join(path).exists()).then(|| format!("no file {path}"))
}

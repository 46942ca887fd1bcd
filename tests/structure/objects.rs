//! The objects that the manifests make, and which of them a `kubectl` command names.

use std::{collections::BTreeSet, path::Path};

use pipeline_tests::structure::texts_below;

/// Flags of kubectl that are followed by a value of their own.
const WITH_VALUE: [&str; 9] = ["-n", "-l", "-o", "-k", "-f", "-c", "-p", "--patch", "--namespace"];

/// Kinds and names.
pub struct Objects(BTreeSet<(&'static str, String)>);

impl Objects {
    /// Those of all manifests below a folder, and those that controllers make of them.
    ///
    /// # Panics
    /// When a file cannot be read.
    pub fn read(folder: &Path) -> Self {
        let mut objects = Self(BTreeSet::new());
        for (_, text) in texts_below(folder, "yaml") {
            text.split("\n---\n").for_each(|document| objects.add(document));
        }
        objects
    }

    fn add(&mut self, document: &str) {
        let kind = document.lines().find_map(|line| line.strip_prefix("kind: "));
        let (Some(kind), Some(name)) = (kind.and_then(kind_of), name(document)) else { return };
        let mut made = vec![(kind, name.to_owned())];
        match kind {
            "statefulset" => {
                made.push(("pod", format!("{name}-0")));
                let claims = document.split_once("volumeClaimTemplates:");
                let claim = claims.and_then(|(_, claims)| claims.split_once("name: "));
                let claim = claim.and_then(|(_, claim)| claim.split_whitespace().next());
                made.extend(
                    claim.map(|claim| ("persistentvolumeclaim", format!("{claim}-{name}-0"))),
                );
            }
            // What Strimzi makes.
            "kafkauser" => made.push(("secret", name.to_owned())),
            "kafka" => made.extend(
                ["cluster-ca", "cluster-ca-cert", "clients-ca", "clients-ca-cert"]
                    .map(|secret| ("secret", format!("{name}-{secret}"))),
            ),
            "kafkanodepool" => {
                made.extend((0..3).map(|node| ("pod", format!("millrace-{name}-{node}"))))
            }
            _ => {}
        }
        self.0.extend(made);
    }

    /// The objects that the arguments of `kubectl` name and no manifest makes. A name in capital letters, or with a
    /// variable in it, stands for one that the reader chooses.
    ///
    /// # Errors
    /// A verb or a kind that is not known here.
    pub fn missing(&self, arguments: &[&str]) -> Result<Vec<String>, String> {
        let missing = |(kind, name): &(&'static str, String)| {
            let chosen = name.contains('$') || name.chars().all(|sign| sign.is_ascii_uppercase());
            !chosen && !self.0.contains(&(*kind, name.clone()))
        };
        let named = named(arguments)?.into_iter().filter(missing);
        Ok(named.map(|(kind, name)| format!("{kind} {name}")).collect())
    }
}

/// The name in the metadata of a document.
fn name(document: &str) -> Option<&str> {
    let (_, metadata) = document.split_once("\nmetadata:")?;
    let (_, name) = metadata.split_once("name: ")?;
    name.split([',', '}', '\n', ' ']).next()
}

/// The objects that the arguments of `kubectl` name.
fn named(arguments: &[&str]) -> Result<Vec<(&'static str, String)>, String> {
    let mut words = Vec::new();
    let mut arguments = arguments.iter().take_while(|word| **word != "--");
    while let Some(word) = arguments.next() {
        if WITH_VALUE.contains(word) {
            arguments.next();
        } else if !word.starts_with('-') {
            words.push(*word);
        }
    }
    let Some((&verb, words)) = words.split_first() else { return Ok(Vec::new()) };
    match verb {
        "apply" | "cordon" | "create" | "drain" | "kustomize" | "uncordon" => Ok(Vec::new()),
        "debug" | "exec" | "logs" | "port-forward" => {
            let target =
                words.first().map(|target| target.split_once('/').unwrap_or(("pod", target)));
            target.into_iter().map(|(kind, name)| Ok((known(kind)?, name.to_owned()))).collect()
        }
        "rollout" | "set" => match words.split_first() {
            Some((&("env" | "image" | "restart" | "status" | "undo"), words)) => objects(words),
            _ => Err(format!("no such {verb} of kubectl is known here")),
        },
        "annotate" | "delete" | "describe" | "edit" | "get" | "patch" | "scale" | "top"
        | "wait" => objects(words),
        _ => Err(format!("no verb {verb} of kubectl is known here")),
    }
}

/// Objects written as `KIND/NAME …` or as `KIND[,KIND…] NAME …`, possibly with `KEY=VALUE` or `KEY-` after them.
fn objects(words: &[&str]) -> Result<Vec<(&'static str, String)>, String> {
    let words: Vec<&str> =
        words.iter().copied().filter(|word| !word.contains('=') && !word.ends_with('-')).collect();
    if words.iter().any(|word| word.contains('/')) {
        let pairs = words
            .iter()
            .map(|word| word.split_once('/').ok_or_else(|| format!("no kind before {word}")));
        return pairs
            .map(|pair| pair.and_then(|(kind, name)| Ok((known(kind)?, name.to_owned()))))
            .collect();
    }
    let Some((kinds, names)) = words.split_first() else { return Ok(Vec::new()) };
    let kinds: Vec<&'static str> = kinds.split(',').map(known).collect::<Result<_, _>>()?;
    Ok(kinds.iter().flat_map(|kind| names.iter().map(|name| (*kind, (*name).to_owned()))).collect())
}

fn known(kind: &str) -> Result<&'static str, String> {
    kind_of(kind).ok_or_else(|| format!("no kind {kind} is known here"))
}

/// The kind that a manifest or a command names: in the singular, in the plural, or short.
fn kind_of(word: &str) -> Option<&'static str> {
    Some(match word.to_lowercase().trim_end_matches('s') {
        "deployment" | "deploy" => "deployment",
        "horizontalpodautoscaler" | "hpa" => "horizontalpodautoscaler",
        "job" => "job",
        "kafka" => "kafka",
        "kafkanodepool" => "kafkanodepool",
        "kafkatopic" => "kafkatopic",
        "kafkauser" => "kafkauser",
        "namespace" | "n" => "namespace",
        "node" => "node",
        "persistentvolumeclaim" | "pvc" => "persistentvolumeclaim",
        "pod" => "pod",
        "podmonitor" => "podmonitor",
        "prometheusrule" => "prometheusrule",
        "scaledobject" => "scaledobject",
        "secret" => "secret",
        "service" | "svc" => "service",
        "statefulset" | "st" => "statefulset",
        _ => return None,
    })
}

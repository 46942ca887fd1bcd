//! Flags and the `MILLRACE_*` variables: a flag overrides its own variable and any variable that contradicts it, and the
//! user is told which variables are overridden.

use std::env::var_os;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

/// Reads the command line. Also returns notes for the user about overridden variables. Ends the process if the command
/// line is not valid.
pub fn matches(command: Command) -> (ArgMatches, Vec<String>) {
    match command.clone().try_get_matches() {
        Ok(matches) => {
            let told = overridden(&command, &matches);
            (matches, told)
        }
        Err(error) if error.kind() == ErrorKind::ArgumentConflict => {
            without_one(&command).unwrap_or_else(|| error.exit())
        }
        Err(error) => error.exit(),
    }
}

/// Reads the command line without the variable that contradicts it, if leaving out one variable is enough.
fn without_one(command: &Command) -> Option<(ArgMatches, Vec<String>)> {
    let variables = command.get_subcommands().flat_map(variables);
    for (id, variable) in variables.collect::<Vec<_>>() {
        if var_os(&variable).is_none() {
            continue;
        }
        let names: Vec<String> =
            command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
        let mut without = command.clone();
        for name in names {
            without = without.mut_subcommand(name, |command| {
                command.mut_args(|arg| {
                    if arg.get_id() == id.as_str() { arg.env(None::<&str>) } else { arg }
                })
            });
        }
        if let Ok(matches) = without.clone().try_get_matches() {
            let mut told = overridden(&without, &matches);
            told.push(format!(
                "{variable} from the environment is not used: a flag contradicts it"
            ));
            return Some((matches, told));
        }
    }
    None
}

/// Notes about the variables that a flag of the command line overrides.
fn overridden(command: &Command, matches: &ArgMatches) -> Vec<String> {
    let Some((name, matches)) = matches.subcommand() else { return Vec::new() };
    let Some(command) = command.find_subcommand(name) else { return Vec::new() };
    let lost = variables(command).into_iter().filter(|(id, variable)| {
        matches.value_source(id) == Some(ValueSource::CommandLine) && var_os(variable).is_some()
    });
    lost.map(|(id, variable)| {
        format!("--{} overrides {variable} from the environment", id.replace('_', "-"))
    })
    .collect()
}

/// The ids of the arguments that have a variable, each with its variable.
fn variables(command: &Command) -> Vec<(String, String)> {
    let named = command
        .get_arguments()
        .filter_map(|arg| Some((arg.get_id().to_string(), arg.get_env()?.to_str()?.to_owned())));
    named.collect()
}

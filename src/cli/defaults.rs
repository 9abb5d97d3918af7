//! Defaults from the environment and the configuration file, each validated alone, so that errors name their source.

use std::ffi::OsString;

use clap::builder::Resettable;
use clap::error::ContextKind;
use clap::{Arg, ArgAction, Command};

use crate::text::SafeText;

/// Makes these values the default of the flag with this long name, if they are valid.
pub(super) fn set(command: Command, key: &str, values: Vec<OsString>) -> Result<Command, String> {
    let Some(arg) = command.get_arguments().find(|arg| arg.get_long() == Some(key)) else { return Ok(command) };
    try_alone(arg, key, &values)?;
    let id = arg.get_id().clone();
    Ok(command.mut_arg(id, |arg| arg.default_values(values)))
}

/// Returns true for flags that have a variable. Modes have none: a file must not turn every run into a node.
pub(super) fn is_setting(arg: &Arg) -> bool {
    arg.get_env().is_some()
}

/// Validates one setting as if it were the only flag.
fn try_alone(arg: &Arg, key: &str, values: &[OsString]) -> Result<(), String> {
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return match values {
            [value] if value == "true" || value == "false" => Ok(()),
            _ => Err("write true or false".to_owned()),
        };
    }
    if matches!(arg.get_action(), ArgAction::Count) {
        let counts = matches!(values, [value] if value.to_str().is_some_and(|text| text.parse::<u8>().is_ok()));
        return if counts { Ok(()) } else { Err("write a small number".to_owned()) };
    }
    if values.len() > 1 && !matches!(arg.get_action(), ArgAction::Append) {
        return Err("write one value, not a list".to_owned());
    }
    let alone = Command::new("chainview").arg(arg.clone().env(Resettable::Reset));
    let typed = values.iter().map(|value| {
        let mut typed = OsString::from(format!("--{key}="));
        typed.push(value);
        typed
    });
    match alone.try_get_matches_from(std::iter::once(OsString::from("chainview")).chain(typed)) {
        Ok(_) => Ok(()),
        Err(error) => Err(reason(&error)),
    }
}

/// Extracts the reason from a clap error, without the flag, which was not typed.
fn reason(error: &clap::Error) -> String {
    let text = safe_lines(error).join("\n");
    let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let first = match error.get(ContextKind::InvalidArg) {
        Some(flag) => first.replace(&format!(" for '{flag}'"), ""),
        None => first.to_owned(),
    };
    let choices = text.lines().map(str::trim).find(|line| line.starts_with("[possible values"));
    choices.map_or_else(|| first.clone(), |choices| format!("{first} {choices}"))
}

/// Returns the lines of a clap error without colors, sanitized: it repeats the arguments.
pub fn safe_lines(error: &clap::Error) -> Vec<String> {
    error.render().to_string().lines().map(|line| SafeText::new(line).to_string()).collect()
}

//! Search of commands for the palette, by name, synonym and description.

use super::binding::{BROWSE, Binding};
use super::table::TABLE;

/// Words by which users of other programs know a command.
const SYNONYMS: &[(&str, &[&str])] = &[
    ("attach", &["add", "monitor", "node", "watch"]),
    ("back", &["close", "escape"]),
    ("cancel", &["abort", "delete", "kill", "remove", "stop"]),
    ("close-connection", &["abort", "disconnect", "drop", "kill", "stop"]),
    ("columns", &["fields", "hide"]),
    ("copy", &["clipboard", "curl", "yank"]),
    ("detach", &["forget", "remove", "unwatch"]),
    ("detail", &["info", "inspect", "open"]),
    ("drain-node", &["graceful", "shutdown", "stop"]),
    ("export", &["dump", "json", "save", "write"]),
    ("faults", &["delay", "inject", "jitter", "latency", "slow", "stall"]),
    ("fetch", &["download", "get", "start"]),
    ("fetch-name", &["browse", "choose", "download", "file", "folder", "get", "list", "open"]),
    ("filter", &["find", "grep", "search"]),
    ("freeze", &["hold", "still"]),
    ("help", &["glossary", "keys", "manual", "meaning"]),
    ("interrupt", &["abort", "stop"]),
    ("kill-node", &["crash", "terminate"]),
    ("level", &["errors", "verbosity", "warnings"]),
    ("limit", &["bandwidth", "cap", "rate", "slow", "speed", "throttle"]),
    ("limit-lower", &["slower", "throttle"]),
    ("limit-none", &["unlimited", "unthrottle"]),
    ("limit-raise", &["faster"]),
    ("pause", &["continue", "hold", "resume", "stop"]),
    ("queue-down", &["later", "reorder"]),
    ("queue-up", &["priority", "reorder"]),
    ("quit", &["bye", "close", "end", "exit", "leave", "stop"]),
    ("quit-keep-screen", &["exit", "leave"]),
    ("repaint", &["redraw", "refresh"]),
    ("restart-node", &["reboot", "reload"]),
    ("retry", &["again", "continue", "download", "get", "repeat", "resume"]),
    ("save-screen", &["image", "picture", "print", "screenshot", "svg"]),
    ("settings", &["config", "configure", "options", "preferences"]),
    ("show-chain", &["overview", "tab"]),
    ("show-connections", &["tab"]),
    ("show-log", &["messages", "tab"]),
    ("show-nodes", &["tab"]),
    ("show-transfers", &["downloads", "queue", "tab"]),
    ("sort", &["order"]),
    ("start-node", &["launch", "run"]),
    ("stop-node", &["kill", "shutdown", "terminate"]),
    ("theme", &["color", "contrast", "dark", "light", "mono", "terminal"]),
    ("zoom", &["enlarge", "fullscreen", "maximize"]),
];

/// Returns the commands that match all typed words, the best match first.
pub(crate) fn matches(typed: &str) -> Vec<&'static Binding> {
    let typed = typed.to_lowercase();
    let own = TABLE.iter().filter(|binding| binding.modes & BROWSE != 0 && binding.id != "palette");
    let mut ranked: Vec<(u8, &Binding)> = own.filter_map(|binding| Some((rank(binding, &typed)?, binding))).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, binding)| binding).collect()
}

/// Returns how well a command matches, 0 for best; the worst word counts.
fn rank(binding: &Binding, typed: &str) -> Option<u8> {
    let ranks = typed.split_whitespace().map(|word| rank_of_word(binding, word));
    ranks.collect::<Option<Vec<u8>>>().map(|ranks| ranks.into_iter().max().unwrap_or(0))
}

fn rank_of_word(binding: &Binding, word: &str) -> Option<u8> {
    let synonyms = SYNONYMS.iter().find(|(id, _)| *id == binding.id).map_or(&[][..], |(_, words)| words);
    match () {
        () if binding.id == word => Some(0),
        () if synonyms.contains(&word) => Some(1),
        () if binding.id.starts_with(word) => Some(2),
        () if binding.id.split('-').any(|part| part.starts_with(word)) => Some(3),
        () if synonyms.iter().any(|synonym| synonym.starts_with(word)) => Some(4),
        () if binding.id.contains(word) => Some(5),
        () if binding.help.to_lowercase().contains(word) => Some(6),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(typed: &str) -> Vec<&'static str> {
        matches(typed).iter().take(3).map(|binding| binding.id).collect()
    }

    #[test]
    fn synonyms_belong_to_commands() {
        for (id, words) in SYNONYMS {
            assert!(TABLE.iter().any(|binding| binding.id == *id && binding.modes & BROWSE != 0), "{id}");
            assert!(words.is_sorted(), "{id}: {words:?}");
            // A typed name must not run another command.
            let is_name = |binding: &Binding| binding.modes & BROWSE != 0 && words.contains(&binding.id);
            assert!(!TABLE.iter().any(is_name), "{id}: {words:?}");
        }
        assert!(SYNONYMS.is_sorted_by_key(|(id, _)| *id));
    }

    #[test]
    fn commands_are_found_by_the_names_of_other_programs() {
        for (typed, wanted) in [
            ("stop", "cancel"),
            ("kill", "cancel"),
            ("resume", "pause"),
            ("continue", "pause"),
            ("download", "fetch"),
            ("get", "fetch"),
            ("abort", "cancel"),
            ("exit", "quit"),
            ("dark", "theme"),
            ("throttle", "limit"),
            ("screenshot", "save-screen"),
            ("search", "filter"),
            ("curl", "copy"),
        ] {
            assert!(first(typed).contains(&wanted), "{typed}: {:?}", first(typed));
        }
    }

    #[test]
    fn names_come_before_descriptions() {
        assert_eq!(first("limit")[0], "limit");
        assert_eq!(first("PAUSE")[0], "pause");
        assert_eq!(first("node rest")[0], "restart-node");
        assert_eq!(first("qui")[0], "quit");
        assert!(first("no such command").is_empty());
    }
}

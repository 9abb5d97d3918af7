//! Every key there is. The order is that in which the footer gives up: what stands further down goes first.

use super::binding::Condition::{
    self, Always, Attachable, Cancellable, Cappable, Capped, Closable, Copyable, Detachable, Drainable, FaultSet,
    FaultsSettable, Fetchable, HasChoices, HasDetail, HasHits, HasPanels, HasRows, HasSpan, HasStage, HasTyped,
    IsInside, IsSorted, OffTab, OnTab, OwnsNodes, Pausable, Reorderable, Restartable, Retryable, Scrollable, Startable,
    Stoppable,
};
use super::binding::FooterSlot::{self, Left, Nowhere, Right};
use super::binding::Topic::{self, Line, Look, Nodes, Over, Program, Transfers};
use super::binding::{BROWSE, Binding, HELP, LEAVE, LINE, PALETTE, PICK};
use crate::ui::action::{Action, Edit, NodeAction, TransferAction, ViewAction};
use crate::ui::focus::{Panel, Set, Tab};

const HOPS: Set = Panel::Hops.bit();
const CONNS: Set = Panel::Connections.bit();
const XFERS: Set = Panel::Transfers.bit();
const SETUP: Set = Panel::Setup.bit();
const NODES: Set = Panel::Nodes.bit();
const LOG: Set = Panel::Log.bit();
const ANY: Set = Set::MAX;
/// Where keys for transfers mean the marked one.
const OF_XFERS: Set = ANY & !CONNS & !NODES;
/// Where keys for nodes mean the marked hop's.
const OF_NODES: Set = HOPS | NODES;

const fn bind(id: &'static str, panels: Set, keys: &'static [&'static str], action: Action) -> Binding {
    Binding { id, modes: BROWSE, panels, keys, topic: Look, help: "", place: Nowhere, when: Always, action }
}

impl Binding {
    const fn says(mut self, topic: Topic, help: &'static str, place: FooterSlot) -> Self {
        self.topic = topic;
        self.help = help;
        self.place = place;
        self
    }

    const fn during(mut self, modes: Set) -> Self {
        self.modes = modes;
        self
    }

    const fn when(mut self, when: Condition) -> Self {
        self.when = when;
        self
    }
}

/// Every key there is.
#[rustfmt::skip]
pub(crate) static TABLE: &[Binding] = &[
    bind("close-connection", CONNS, &["x"], Action::Node(NodeAction::CloseConnection))
        .says(Nodes, "close the marked connection", Left("close", "close")).when(Closable),
    bind("stop-node", NODES, &["x"], Action::Node(NodeAction::StopNode))
        .says(Nodes, "stop the marked hop's node in order, for good", Left("stop", "stop"))
        .when(Stoppable),
    bind("start-node", OF_NODES, &["u"], Action::Node(NodeAction::StartNode))
        .says(Nodes, "start the marked hop's node", Left("start", "start")).when(Startable),
    bind("fetch", ANY, &["f"], Action::Transfer(TransferAction::Fetch))
        .says(Transfers, "fetch the route's own file", Left("fetch", "fetch")).when(Fetchable),
    bind("fetch-name", ANY & !LOG, &["n"], Action::Transfer(TransferAction::AskName))
        .says(Transfers, "fetch another file over the same hops, by name or from a list", Left("fetch a name", "name"))
        .when(Fetchable),
    bind("cancel", OF_XFERS, &["x"], Action::Transfer(TransferAction::Cancel))
        .says(Transfers, "cancel the marked transfer or what runs; bytes stay", Left("cancel", "cancel"))
        .when(Cancellable),
    bind("pause", OF_XFERS, &["p"], Action::Transfer(TransferAction::Pause))
        .says(Transfers, "pause the marked transfer, or let it go on", Left("pause", "pause"))
        .when(Pausable),
    bind("retry", OF_XFERS, &["r"], Action::Transfer(TransferAction::Retry))
        .says(Transfers, "fetch again what the marked transfer was to fetch", Left("retry", "retry"))
        .when(Retryable),
    bind("detail", ANY, &["enter"], Action::Enter)
        .says(Look, "the marked row in detail; j/k go on to the next", Left("detail", "detail"))
        .when(HasDetail),
    bind("back", ANY, &["esc"], Action::View(ViewAction::Back))
        .says(Look, "one level out: detail, zoom, filter; never leaves", Left("back", "back")).when(IsInside),
    bind("filter", CONNS | XFERS | LOG, &["/"], Action::View(ViewAction::Filter))
        .says(Look, "only rows with these words: hop:3 state:stream -page", Left("filter", "filter")),
    bind("next-hit", LOG, &["n"], Action::View(ViewAction::Hit(1)))
        .says(Look, "the next line with the filter's words, others around", Left("next hit", "hit"))
        .when(HasHits),
    bind("last-hit", LOG, &["N"], Action::View(ViewAction::Hit(-1)))
        .says(Look, "the line before with the filter's words", Left("hit before", "hit")).when(HasHits),
    bind("sort", CONNS, &["s"], Action::View(ViewAction::SortNext))
        .says(Look, "sort by the next column; rows then keep their places", Left("sort", "sort")).when(HasRows),
    bind("sort-turn", CONNS, &["S"], Action::View(ViewAction::SortTurn))
        .says(Look, "sort the other way round", Nowhere).when(IsSorted),
    bind("sort-again", CONNS, &["o"], Action::View(ViewAction::SortAgain))
        .says(Look, "sort once more, by the figures as they are now", Left("sort again", "again"))
        .when(IsSorted),
    bind("level", LOG, &["l"], Action::View(ViewAction::Level))
        .says(Look, "show log lines from the next level up", Left("level", "level")),
    bind("wrap", LOG, &["w"], Action::View(ViewAction::Wrap)).says(Look, "break long lines, or cut them", Left("wrap", "wrap")),
    bind("panel", ANY, &["tab"], Action::View(ViewAction::NextPanel))
        .says(Look, "give the next panel the keys; shift-tab the one before", Left("panel", "panel"))
        .when(HasPanels),
    bind("last-panel", ANY, &["shift-tab"], Action::View(ViewAction::LastPanel))
        .says(Look, "give the panel before the keys", Nowhere).when(HasPanels),
    bind("freeze", ANY, &["space"], Action::View(ViewAction::Freeze))
        .says(Look, "hold the picture; the header says for how long", Left("freeze", "freeze")),
    bind("palette", ANY, &[":"], Action::View(ViewAction::Palette))
        .says(Look, "all that can be done, by name", Left("commands", "cmds")),
    bind("limit", OF_XFERS, &["b"], Action::Transfer(TransferAction::AskCap))
        .says(Transfers, "limit the rate of the selected transfer", Left("limit", "limit")).when(Cappable),
    bind("limit-lower", OF_XFERS, &["["], Action::Transfer(TransferAction::CapBy(-1)))
        .says(Transfers, "lower its rate limit by a tenth", Nowhere).when(Cappable),
    bind("limit-raise", OF_XFERS, &["]"], Action::Transfer(TransferAction::CapBy(1)))
        .says(Transfers, "raise its rate limit by a tenth", Nowhere).when(Capped),
    bind("limit-none", OF_XFERS, &["0"], Action::Transfer(TransferAction::NoCap))
        .says(Transfers, "remove its rate limit", Nowhere).when(Capped),
    bind("queue-later", XFERS, &["J"], Action::Transfer(TransferAction::Reorder(1)))
        .says(Transfers, "let a queued transfer wait longer", Left("later", "later")).when(Reorderable(1)),
    bind("queue-sooner", XFERS, &["K"], Action::Transfer(TransferAction::Reorder(-1)))
        .says(Transfers, "put a queued transfer further to the front", Left("sooner", "sooner"))
        .when(Reorderable(-1)),
    bind("restart-node", OF_NODES, &["R"], Action::Node(NodeAction::RestartNode))
        .says(Nodes, "stop the marked hop's node and start it anew", Left("restart node", "restart"))
        .when(Restartable),
    bind("faults", OF_NODES, &["!"], Action::Node(NodeAction::Faults))
        .says(Nodes, "the selected hop's faults: limit, delay, stall and others", Left("faults", "faults"))
        .when(FaultsSettable),
    bind("drain-node", OF_NODES, &["d"], Action::Node(NodeAction::DrainNode))
        .says(Nodes, "have the marked hop's node take no new work", Left("drain", "drain"))
        .when(Drainable),
    bind("kill-node", OF_NODES, &["X"], Action::Node(NodeAction::KillNode))
        .says(Nodes, "kill the marked hop's node at once", Left("kill", "kill")).when(Stoppable),
    bind("attach", OF_NODES, &["a"], Action::Node(NodeAction::AskAttach))
        .says(Nodes, "watch one more node", Left("attach", "attach")).when(Attachable),
    bind("detach", OF_NODES, &["D"], Action::Node(NodeAction::Detach))
        .says(Nodes, "watch the marked node no longer; it lives on", Left("detach", "detach"))
        .when(Detachable),
    bind("toward-origin", CONNS | XFERS | SETUP, &[">"], Action::View(ViewAction::Follow(1)))
        .says(Look, "follow the transfer to the next hop toward the origin", Left("next hop", "hop"))
        .when(HasStage(1)),
    bind("toward-client", CONNS, &["<"], Action::View(ViewAction::Follow(-1)))
        .says(Look, "follow it toward the client, at last to the transfer", Left("hop before", "hop"))
        .when(HasStage(-1)),
    bind("zoom", ANY, &["z"], Action::View(ViewAction::Zoom))
        .says(Look, "give the whole screen to the panel that has the keys", Left("zoom", "zoom"))
        .when(OnTab(Tab::Chain)),
    bind("show-chain", ANY, &["1"], Action::View(ViewAction::Show(Tab::Chain)))
        .says(Look, "the chain", Nowhere).when(OffTab(Tab::Chain)),
    bind("show-connections", ANY, &["2"], Action::View(ViewAction::Show(Tab::Connections)))
        .says(Look, "the connections of all hops", Nowhere).when(OffTab(Tab::Connections)),
    bind("show-transfers", ANY, &["3"], Action::View(ViewAction::Show(Tab::Transfers)))
        .says(Look, "the transfers", Nowhere).when(OffTab(Tab::Transfers)),
    bind("show-nodes", ANY, &["4"], Action::View(ViewAction::Show(Tab::Nodes)))
        .says(Look, "the nodes", Nowhere).when(OffTab(Tab::Nodes)),
    bind("show-log", ANY, &["5"], Action::View(ViewAction::Show(Tab::Log)))
        .says(Look, "the log", Nowhere).when(OffTab(Tab::Log)),
    bind("down", ANY, &["j", "down"], Action::View(ViewAction::Move(1))).says(Look, "one row down", Nowhere).when(HasRows),
    bind("up", ANY, &["k", "up"], Action::View(ViewAction::Move(-1))).says(Look, "one row up", Nowhere).when(HasRows),
    bind("page-down", ANY, &["ctrl-d", "pagedown"], Action::View(ViewAction::Page(1))).says(Look, "half a panel down", Nowhere).when(HasRows),
    bind("page-up", ANY, &["ctrl-u", "pageup"], Action::View(ViewAction::Page(-1))).says(Look, "half a panel up", Nowhere).when(HasRows),
    bind("first", ANY, &["g", "home"], Action::View(ViewAction::First)).says(Look, "first row", Nowhere).when(HasRows),
    bind("last", ANY, &["G", "end"], Action::View(ViewAction::Last)).says(Look, "last row; a log then follows", Nowhere).when(HasRows),
    bind("columns", CONNS | OF_NODES, &["c"], Action::View(ViewAction::Columns))
        .says(Look, "choose the columns", Left("columns", "columns")),
    bind("shorter", ANY, &["=", "+"], Action::View(ViewAction::Span(-1)))
        .says(Look, "a shorter time in the chart: 10 min, 60 s, 10 s, 1 s", Nowhere).when(HasSpan(-1)),
    bind("longer", ANY, &["-"], Action::View(ViewAction::Span(1)))
        .says(Look, "a longer time in the chart", Nowhere).when(HasSpan(1)),
    bind("copy", ANY, &["y"], Action::View(ViewAction::Copy))
        .says(Look, "copy the marked row's path, address or line", Nowhere)
        .when(Copyable),
    bind("export", ANY, &["e"], Action::Export).says(Program, "write the figures as JSON", Nowhere),
    bind("save-screen", ANY, &["E"], Action::SaveScreen).says(Program, "write this screen as a picture (SVG)", Nowhere),
    bind("theme", ANY, &["t"], Action::View(ViewAction::Theme)).says(Program, "the next look: terminal, light, contrast, mono", Nowhere),
    bind("mouse", ANY, &["m"], Action::View(ViewAction::Mouse)).says(Program, "listen to the mouse or not; shift and drag select text", Nowhere),
    bind("settings", ANY, &[","], Action::View(ViewAction::Settings))
        .says(Program, "theme, mouse, charts and log in one list", Nowhere),
    bind("repaint", ANY, &["ctrl-l"], Action::View(ViewAction::Repaint)).says(Program, "paint the screen again", Nowhere),
    bind("suspend", ANY, &["ctrl-z"], Action::View(ViewAction::Suspend)).during(ANY).says(Program, "stop until fg; bg lets transfers go on unseen", Nowhere),
    bind("interrupt", ANY, &["ctrl-c"], Action::Interrupt)
        .says(Program, "cancel what runs; again, or with nothing left: leave", Nowhere),
    bind("help", ANY, &["?", "f1"], Action::View(ViewAction::Help)).says(Program, "this list", Right("help")),
    bind("quit", ANY, &["q"], Action::Quit)
        .says(Program, "leave; nodes that this program started stop", Right("quit")),
    bind("quit-kept", ANY, &["Q"], Action::QuitKept)
        .says(Program, "leave, and let the last picture stand on the terminal", Nowhere),

    bind("take", ANY, &["enter"], Action::Enter).during(LINE).says(Line, "take the line", Left("take", "take")),
    bind("complete", ANY, &["tab"], Action::View(ViewAction::Complete)).during(LINE)
        .says(Line, "the rest of the marked name", Left("complete", "complete")).when(HasChoices),
    bind("list-down", ANY, &["down"], Action::View(ViewAction::Move(1))).during(LINE | PALETTE)
        .says(Line, "to the list, and down in it", Left("choose", "choose")).when(HasChoices),
    bind("list-up", ANY, &["up"], Action::View(ViewAction::Move(-1))).during(LINE | PALETTE)
        .says(Line, "up in the list", Nowhere).when(HasChoices),
    bind("do", ANY, &["enter"], Action::Enter).during(PALETTE).says(Line, "do this", Left("do it", "do"))
        .when(HasChoices),
    bind("backspace", ANY, &["backspace", "ctrl-h"], Action::View(ViewAction::Edit(Edit::Backspace))).during(LINE | PALETTE)
        .says(Line, "delete to the left", Nowhere),
    bind("delete", ANY, &["delete", "ctrl-d"], Action::View(ViewAction::Edit(Edit::Delete))).during(LINE | PALETTE)
        .says(Line, "delete to the right", Nowhere),
    bind("left", ANY, &["left", "ctrl-b"], Action::View(ViewAction::Edit(Edit::Left))).during(LINE | PALETTE)
        .says(Line, "one character left", Nowhere),
    bind("right", ANY, &["right", "ctrl-f"], Action::View(ViewAction::Edit(Edit::Right))).during(LINE | PALETTE)
        .says(Line, "one character right", Nowhere),
    bind("line-start", ANY, &["home", "ctrl-a"], Action::View(ViewAction::Edit(Edit::Home))).during(LINE | PALETTE)
        .says(Line, "to the start", Nowhere),
    bind("line-end", ANY, &["end", "ctrl-e"], Action::View(ViewAction::Edit(Edit::End))).during(LINE | PALETTE)
        .says(Line, "to the end", Nowhere),
    bind("cut-word", ANY, &["ctrl-w"], Action::View(ViewAction::Edit(Edit::CutWord))).during(LINE | PALETTE)
        .says(Line, "delete the word before", Left("delete word", "word")).when(HasTyped),
    bind("cut-before", ANY, &["ctrl-u"], Action::View(ViewAction::Edit(Edit::CutBefore))).during(LINE | PALETTE)
        .says(Line, "delete all before", Left("clear", "clear")).when(HasTyped),
    bind("cut-after", ANY, &["ctrl-k"], Action::View(ViewAction::Edit(Edit::CutAfter))).during(LINE | PALETTE)
        .says(Line, "delete all behind", Nowhere),

    bind("over-do", ANY, &["enter", "space"], Action::Enter).during(PICK)
        .says(Over, "turn the marked line", Left("turn", "turn")),
    bind("over-down", ANY, &["j", "down"], Action::View(ViewAction::Move(1))).during(PICK)
        .says(Over, "one line down", Left("select", "select")).when(HasChoices),
    bind("over-up", ANY, &["k", "up"], Action::View(ViewAction::Move(-1))).during(PICK).says(Over, "one line up", Nowhere).when(HasChoices),
    bind("over-none", ANY, &["0"], Action::Transfer(TransferAction::NoCap)).during(PICK)
        .says(Over, "turn a change back to nothing", Left("off", "off")).when(FaultSet),
    bind("help-down", ANY, &["j", "down"], Action::View(ViewAction::Move(1))).during(HELP)
        .says(Over, "scroll down", Left("scroll", "scroll")).when(Scrollable),
    bind("help-up", ANY, &["k", "up"], Action::View(ViewAction::Move(-1))).during(HELP).says(Over, "scroll up", Nowhere).when(Scrollable),
    bind("help-page-down", ANY, &["ctrl-d", "pagedown", "space"], Action::View(ViewAction::Page(1))).during(HELP)
        .says(Over, "half a page down", Nowhere).when(Scrollable),
    bind("help-page-up", ANY, &["ctrl-u", "pageup"], Action::View(ViewAction::Page(-1))).during(HELP)
        .says(Over, "half a page up", Nowhere).when(Scrollable),
    bind("help-first", ANY, &["g", "home"], Action::View(ViewAction::First)).during(HELP).says(Over, "to the top", Nowhere).when(Scrollable),
    bind("help-last", ANY, &["G", "end"], Action::View(ViewAction::Last)).during(HELP).says(Over, "to the bottom", Nowhere).when(Scrollable),

    bind("leave", ANY, &["q", "Q", "enter", "ctrl-c"], Action::Quit).during(LEAVE)
        .says(Over, "leave: cancel what runs, stop the nodes", Left("leave", "leave")),
    bind("leave-nodes", ANY, &["d"], Action::LeaveNodes).during(LEAVE)
        .says(Over, "leave, and let the nodes live on", Left("leave, keep the nodes running", "keep nodes"))
        .when(OwnsNodes),

    bind("repaint-over", ANY, &["ctrl-l"], Action::View(ViewAction::Repaint)).during(LINE | PALETTE | HELP | PICK | LEAVE)
        .says(Over, "paint the screen again", Nowhere),
    bind("close-line", ANY, &["esc", "ctrl-c"], Action::View(ViewAction::Close)).during(LINE | PALETTE)
        .says(Line, "close; a filter goes", Right("back")),
    bind("close", ANY, &["esc", "q", "?", "f1", "ctrl-c", "!", "c", ","], Action::View(ViewAction::Close)).during(HELP | PICK)
        .says(Over, "close", Right("back")),
    bind("stay", ANY, &["esc", "n"], Action::View(ViewAction::Close)).during(LEAVE).says(Over, "stay", Right("stay")),
];

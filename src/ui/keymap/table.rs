//! Table of all key bindings. Where the footer has no room, it drops bindings from the end of the table first.

use super::binding::Condition::{
    self, Always, Attachable, CanGoBack, Cancellable, Closable, Copyable, Detachable, Drainable, FaultSet,
    FaultsSettable, Fetchable, HasChoices, HasDetail, HasMatches, HasPanels, HasRows, HasSpan, HasStage, HasTour,
    HasTyped, IsSorted, Limitable, Limited, Markable, MarkableByBlank, OnTab, OwnsNodes, Pausable, Reorderable,
    Restartable, Retryable, Startable, Stoppable, TourShown,
};
use super::binding::FooterSlot::{self, Left, Nowhere, Right};
use super::binding::Topic::{self, Line, Nodes, Popup, Program, Transfers, View};
use super::binding::{BROWSE, Binding, CONFIRM, COPY, FILES, HELP, LINE, PALETTE, PICK, TEXT};
use crate::command::TourCommand;
use crate::options::Alert;
use crate::ui::action::{Action, CopyItem, Edit, NodeAction, TransferAction, ViewAction};
use crate::ui::focus::{Panel, Set, Tab};

const HOPS: Set = Panel::Hops.bit();
const CONNS: Set = Panel::Connections.bit();
const XFERS: Set = Panel::Transfers.bit();
const SETUP: Set = Panel::Setup.bit();
const NODES: Set = Panel::Nodes.bit();
const LOG: Set = Panel::Log.bit();
const FILES_OF: Set = Panel::Files.bit();
const ANY: Set = Set::MAX;

const fn bind(id: &'static str, panels: Set, keys: &'static [&'static str], action: Action) -> Binding {
    Binding { id, modes: BROWSE, panels, keys, topic: View, help: "", place: Nowhere, when: Always, action }
}

impl Binding {
    const fn described(mut self, topic: Topic, help: &'static str, place: FooterSlot) -> Self {
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

/// All bindings.
#[rustfmt::skip]
pub(crate) static TABLE: &[Binding] = &[
    bind("close-connection", CONNS, &["x"], Action::Node(NodeAction::CloseConnection))
        .described(Nodes, "close the selected connection", Left("close", "close")).when(Closable),
    bind("stop-node", NODES, &["x"], Action::Node(NodeAction::StopNode))
        .described(Nodes, "stop the selected node gracefully, without a restart", Left("stop", "stop"))
        .when(Stoppable),
    bind("start-node", ANY, &["u"], Action::Node(NodeAction::StartNode))
        .described(Nodes, "start the selected node", Left("start", "start")).when(Startable),
    bind("fetch", ANY, &["f"], Action::Transfer(TransferAction::Fetch))
        .described(Transfers, "fetch the file of the route", Left("fetch", "fetch")).when(Fetchable),
    bind("fetch-name", ANY & !LOG, &["n"], Action::Transfer(TransferAction::PromptName))
        .described(Transfers, "fetch another file over the same hops, by name or list", Left("fetch a name", "name"))
        .when(Fetchable),
    bind("cancel", ANY & !CONNS & !NODES, &["x"], Action::Transfer(TransferAction::Cancel))
        .described(Transfers, "cancel the selected or running transfer; bytes are kept", Left("cancel", "cancel"))
        .when(Cancellable),
    bind("pause", ANY, &["p"], Action::Transfer(TransferAction::Pause))
        .described(Transfers, "pause or resume the selected transfer", Left("pause", "pause"))
        .when(Pausable),
    bind("retry", ANY, &["r"], Action::Transfer(TransferAction::Retry))
        .described(Transfers, "fetch the file of the selected transfer again", Left("retry", "retry"))
        .when(Retryable),
    bind("detail", ANY, &["enter"], Action::Enter)
        .described(View, "details of the selected row; j/k select the next", Left("detail", "detail"))
        .when(HasDetail),
    bind("back", ANY, &["esc"], Action::View(ViewAction::Back))
        .described(View, "close detail, zoom or filter; then select the hop of the headline", Left("back", "back"))
        .when(CanGoBack),
    bind("filter", CONNS | XFERS | LOG | FILES_OF, &["/"], Action::View(ViewAction::Filter))
        .described(View, "only rows with these words: hop:3 state:stream -admin", Left("filter", "filter")),
    bind("next-match", LOG, &["n"], Action::View(ViewAction::NextMatch(1)))
        .described(View, "next line that matches the filter, with the others shown", Left("next match", "next"))
        .when(HasMatches),
    bind("previous-match", LOG, &["N"], Action::View(ViewAction::NextMatch(-1)))
        .described(View, "previous line that matches the filter", Left("previous match", "prev")).when(HasMatches),
    bind("sort", CONNS, &["s"], Action::View(ViewAction::SortMenu))
        .described(View, "choose the column to sort by; rows then keep their positions", Left("sort", "sort"))
        .when(HasRows),
    bind("sort-reverse", CONNS, &["S"], Action::View(ViewAction::SortReverse))
        .described(View, "reverse the sort order", Nowhere).when(IsSorted),
    bind("sort-again", CONNS, &["o"], Action::View(ViewAction::SortRefresh))
        .described(View, "sort again by the current figures", Left("sort again", "again"))
        .when(IsSorted),
    bind("admin-connections", CONNS, &["A"], Action::View(ViewAction::AdminConns))
        .described(View, "show or hide admin connections, such as this program's own", Nowhere),
    bind("level", LOG, &["l"], Action::View(ViewAction::Level))
        .described(View, "show log lines from the next higher level", Left("level", "level")),
    bind("wrap", LOG, &["W"], Action::View(ViewAction::Wrap))
        .described(View, "wrap or truncate long lines", Left("wrap", "wrap")),
    bind("panel", ANY, &["tab"], Action::View(ViewAction::NextPanel))
        .described(View, "focus the next panel; shift-tab the previous", Left("panel", "panel"))
        .when(HasPanels),
    bind("previous-panel", ANY, &["shift-tab"], Action::View(ViewAction::PreviousPanel))
        .described(View, "focus the previous panel", Nowhere).when(HasPanels),
    bind("freeze", ANY, &["space"], Action::View(ViewAction::Freeze))
        .described(View, "freeze the display; the header shows for how long", Left("freeze", "freeze")),
    bind("palette", ANY, &[":"], Action::View(ViewAction::Palette))
        .described(View, "command palette", Left("commands", "cmds")),
    bind("limit", ANY, &["b"], Action::Transfer(TransferAction::PromptLimit))
        .described(Transfers, "limit the rate of the selected transfer", Left("limit", "limit")).when(Limitable),
    bind("limit-lower", ANY, &["["], Action::Transfer(TransferAction::LimitBy(-1)))
        .described(Transfers, "lower its rate limit by a tenth", Nowhere).when(Limitable),
    bind("limit-raise", ANY, &["]"], Action::Transfer(TransferAction::LimitBy(1)))
        .described(Transfers, "raise its rate limit by a tenth", Nowhere).when(Limited),
    bind("limit-none", ANY, &["0"], Action::Transfer(TransferAction::RemoveLimit))
        .described(Transfers, "remove its rate limit", Nowhere).when(Limited),
    bind("queue-down", XFERS | FILES_OF, &["J"], Action::Transfer(TransferAction::Reorder(1)))
        .described(Transfers, "move a queued transfer toward the end of the queue", Left("move down", "down"))
        .when(Reorderable(1)),
    bind("queue-up", XFERS | FILES_OF, &["K"], Action::Transfer(TransferAction::Reorder(-1)))
        .described(Transfers, "move a queued transfer toward the front of the queue", Left("move up", "up"))
        .when(Reorderable(-1)),
    bind("restart-node", ANY, &["R"], Action::Node(NodeAction::RestartNode))
        .described(Nodes, "restart the selected node", Left("restart node", "restart"))
        .when(Restartable),
    bind("faults", ANY, &["!"], Action::Node(NodeAction::Faults))
        .described(Nodes, "faults of the selected hop: limit, delay, stall and others", Left("faults", "faults"))
        .when(FaultsSettable),
    bind("drain-node", ANY, &["d"], Action::Node(NodeAction::DrainNode))
        .described(Nodes, "drain the selected node: it accepts no new requests", Left("drain", "drain"))
        .when(Drainable),
    bind("kill-node", ANY, &["X"], Action::Node(NodeAction::KillNode))
        .described(Nodes, "kill the selected node", Left("kill", "kill")).when(Stoppable),
    bind("attach", ANY, &["a"], Action::Node(NodeAction::PromptAttach))
        .described(Nodes, "watch another node", Left("attach", "attach")).when(Attachable),
    bind("detach", ANY, &["D"], Action::Node(NodeAction::Detach))
        .described(Nodes, "stop watching the selected node (it keeps running)", Left("detach", "detach"))
        .when(Detachable),
    bind("toward-origin", CONNS | XFERS | SETUP, &[">"], Action::View(ViewAction::Follow(1)))
        .described(View, "follow the transfer to the next hop toward the origin", Left("next hop", "hop"))
        .when(HasStage(1)),
    bind("toward-client", CONNS, &["<"], Action::View(ViewAction::Follow(-1)))
        .described(View, "follow it toward the client, finally to the transfer", Left("previous hop", "hop"))
        .when(HasStage(-1)),
    bind("why", ANY, &["w"], Action::View(ViewAction::Why))
        .described(View, "why: rule, confidence, evidence and history of the headline", Left("why", "why")),
    bind("zoom", ANY, &["z"], Action::View(ViewAction::Zoom))
        .described(View, "zoom the focused panel to the whole screen", Left("zoom", "zoom"))
        .when(OnTab(Tab::Chain)),
    bind("show-chain", ANY, &["1"], Action::View(ViewAction::Show(Tab::Chain)))
        .described(View, "the chain", Nowhere),
    bind("show-connections", ANY, &["2"], Action::View(ViewAction::Show(Tab::Connections)))
        .described(View, "the connections of all hops", Nowhere),
    bind("show-transfers", ANY, &["3"], Action::View(ViewAction::Show(Tab::Transfers)))
        .described(View, "the transfers", Nowhere),
    bind("show-nodes", ANY, &["4"], Action::View(ViewAction::Show(Tab::Nodes)))
        .described(View, "the nodes", Nowhere),
    bind("show-log", ANY, &["5"], Action::View(ViewAction::Show(Tab::Log)))
        .described(View, "the log", Nowhere),
    bind("down", ANY, &["j", "down"], Action::View(ViewAction::Move(1))).described(View, "one row down", Nowhere)
        .when(HasRows),
    bind("up", ANY, &["k", "up"], Action::View(ViewAction::Move(-1))).described(View, "one row up", Nowhere)
        .when(HasRows),
    bind("page-down", ANY, &["ctrl-d", "pagedown"], Action::View(ViewAction::Page(1)))
        .described(View, "half a panel down", Nowhere)
        .when(HasRows),
    bind("page-up", ANY, &["ctrl-u", "pageup"], Action::View(ViewAction::Page(-1)))
        .described(View, "half a panel up", Nowhere)
        .when(HasRows),
    bind("first", ANY, &["g", "home"], Action::View(ViewAction::First)).described(View, "first row", Nowhere)
        .when(HasRows),
    bind("last", ANY, &["G", "end"], Action::View(ViewAction::Last))
        .described(View, "last row; the log then follows new lines", Nowhere)
        .when(HasRows),
    bind("columns", CONNS | HOPS | NODES, &["c"], Action::View(ViewAction::Columns))
        .described(View, "show or hide columns", Left("columns", "columns")),
    bind("shorter", ANY, &["=", "+"], Action::View(ViewAction::Span(-1)))
        .described(View, "shorter time span of the chart: 10 min, 60 s, 10 s, 1 s", Nowhere).when(HasSpan(-1)),
    bind("longer", ANY, &["-"], Action::View(ViewAction::Span(1)))
        .described(View, "longer time span of the chart", Nowhere).when(HasSpan(1)),
    bind("copy", ANY, &["y"], Action::View(ViewAction::Copy))
        .described(View, "copy: path, commands, sentence, address, line, picture", Nowhere),
    bind("export", ANY, &["e"], Action::Export).described(Program, "export the snapshot as JSON", Nowhere),
    bind("save-screen", ANY, &["E"], Action::SaveScreen).described(Program, "save a screenshot (SVG)", Nowhere),
    bind("theme", ANY, &["t"], Action::View(ViewAction::Theme))
        .described(Program, "next theme, also those of your own", Nowhere),
    bind("mouse", ANY, &["m"], Action::View(ViewAction::Mouse))
        .described(Program, "mouse on or off; shift and drag select text", Nowhere),
    bind("settings", ANY, &[","], Action::View(ViewAction::Settings))
        .described(Program, "theme, mouse, charts, log and alerts in one list", Nowhere),
    bind("alert-title", ANY, &[], Action::View(ViewAction::Alert(Alert::Title)))
        .described(Program, "progress in the title of the window, on or off", Nowhere),
    bind("alert-bell", ANY, &[], Action::View(ViewAction::Alert(Alert::Bell)))
        .described(Program, "bell at the end of transfers of 10 s and more, on or off", Nowhere),
    bind("alert-notify", ANY, &[], Action::View(ViewAction::Alert(Alert::Notify)))
        .described(Program, "desktop notification at their end, on or off", Nowhere),
    bind("tour-next", ANY, &["T"], Action::Tour(TourCommand::Next))
        .described(Program, "demo: next act of the tour, or the tour again", Nowhere).when(HasTour),
    bind("tour-stop", ANY, &["ctrl-t"], Action::Tour(TourCommand::Stop))
        .described(Program, "demo: stop the tour, or close its summary", Nowhere).when(TourShown),
    bind("repaint", ANY, &["ctrl-l"], Action::View(ViewAction::Repaint))
        .described(Program, "repaint the screen", Nowhere),
    bind("suspend", ANY, &["ctrl-z"], Action::View(ViewAction::Suspend))
        .during(ANY).described(Program, "suspend until fg; bg continues transfers without a screen", Nowhere),
    bind("interrupt", ANY, &["ctrl-c"], Action::Interrupt)
        .described(Program, "cancel the running transfer; again, or with none running: quit", Nowhere),
    bind("help", ANY, &["?", "f1"], Action::View(ViewAction::Help))
        .described(Program, "this help, from the focused panel", Right("help")),
    bind("quit", ANY, &["q"], Action::Quit)
        .described(Program, "quit; nodes that this program started stop", Right("quit")),
    bind("quit-keep-screen", ANY, &["Q"], Action::QuitKeepScreen)
        .described(Program, "quit, and keep the last screen on the terminal", Nowhere),

    bind("accept", ANY, &["enter"], Action::Enter)
        .during(LINE | FILES).described(Line, "accept the line or the selected entry", Left("accept", "accept")),
    bind("mark", ANY, &["insert", "ctrl-t"], Action::View(ViewAction::Mark)).during(FILES)
        .described(Line, "mark the selected file or folder: enter fetches all marked", Nowhere).when(Markable),
    bind("mark-by-blank", ANY, &["space"], Action::View(ViewAction::Mark)).during(FILES)
        .described(Line, "the same, before a name is typed", Left("mark", "mark")).when(MarkableByBlank),
    bind("mark-all", ANY, &["ctrl-a"], Action::View(ViewAction::MarkAll)).during(FILES)
        .described(Line, "mark all listed files and folders", Left("mark all", "all")).when(Markable),
    bind("complete", ANY, &["tab"], Action::View(ViewAction::Complete)).during(FILES)
        .described(Line, "complete the selected name", Left("complete", "complete")).when(Markable),
    bind("list-down", ANY, &["down"], Action::View(ViewAction::Move(1))).during(TEXT)
        .described(Line, "down in the list", Left("choose", "choose")).when(HasChoices),
    bind("list-up", ANY, &["up"], Action::View(ViewAction::Move(-1))).during(TEXT)
        .described(Line, "up in the list", Nowhere).when(HasChoices),
    bind("run", ANY, &["enter"], Action::Enter)
        .during(PALETTE).described(Line, "accept the selected entry", Left("accept", "accept"))
        .when(HasChoices),
    bind("backspace", ANY, &["backspace", "ctrl-h"], Action::View(ViewAction::Edit(Edit::Backspace)))
        .during(TEXT)
        .described(Line, "delete to the left", Nowhere),
    bind("delete", ANY, &["delete", "ctrl-d"], Action::View(ViewAction::Edit(Edit::Delete))).during(TEXT)
        .described(Line, "delete to the right", Nowhere),
    bind("left", ANY, &["left", "ctrl-b"], Action::View(ViewAction::Edit(Edit::Left))).during(TEXT)
        .described(Line, "one character to the left", Nowhere),
    bind("right", ANY, &["right", "ctrl-f"], Action::View(ViewAction::Edit(Edit::Right))).during(TEXT)
        .described(Line, "one character to the right", Nowhere),
    bind("line-start", ANY, &["home", "ctrl-a"], Action::View(ViewAction::Edit(Edit::Home))).during(LINE | PALETTE)
        .described(Line, "to the start", Nowhere),
    bind("line-start-of-name", ANY, &["home"], Action::View(ViewAction::Edit(Edit::Home))).during(FILES)
        .described(Line, "to the start of a file name", Nowhere),
    bind("line-end", ANY, &["end", "ctrl-e"], Action::View(ViewAction::Edit(Edit::End))).during(TEXT)
        .described(Line, "to the end", Nowhere),
    bind("cut-word", ANY, &["ctrl-w"], Action::View(ViewAction::Edit(Edit::CutWord))).during(TEXT)
        .described(Line, "delete the previous word", Left("delete word", "word")).when(HasTyped),
    bind("cut-before", ANY, &["ctrl-u"], Action::View(ViewAction::Edit(Edit::CutBefore))).during(TEXT)
        .described(Line, "delete to the start", Left("clear", "clear")).when(HasTyped),
    bind("cut-after", ANY, &["ctrl-k"], Action::View(ViewAction::Edit(Edit::CutAfter))).during(TEXT)
        .described(Line, "delete to the end", Nowhere),

    bind("popup-change", ANY, &["enter", "space"], Action::Enter).during(PICK)
        .described(Popup, "change the selected line", Left("change", "change")),
    bind("popup-down", ANY, &["j", "down"], Action::View(ViewAction::Move(1))).during(PICK | COPY)
        .described(Popup, "one line down", Left("select", "select")).when(HasChoices),
    bind("popup-up", ANY, &["k", "up"], Action::View(ViewAction::Move(-1)))
        .during(PICK | COPY).described(Popup, "one line up", Nowhere).when(HasChoices),
    bind("popup-off", ANY, &["0"], Action::Transfer(TransferAction::RemoveLimit)).during(PICK)
        .described(Popup, "turn off the selected fault", Left("off", "off")).when(FaultSet),
    bind("copy-selected", ANY, &["enter", "space", "y"], Action::Enter).during(COPY)
        .described(Popup, "copy the selected entry", Left("copy", "copy")),
    bind("copy-path", ANY, &["p"], Action::View(ViewAction::CopyItem(CopyItem::Path))).during(COPY)
        .described(Popup, "copy menu: path of the file", Nowhere).when(Copyable(CopyItem::Path)),
    bind("copy-error", ANY, &["x"], Action::View(ViewAction::CopyItem(CopyItem::Error))).during(COPY)
        .described(Popup, "copy menu: error", Nowhere).when(Copyable(CopyItem::Error)),
    bind("copy-failures", ANY, &["d"], Action::View(ViewAction::CopyItem(CopyItem::Failures))).during(COPY)
        .described(Popup, "copy menu: failed files of a folder, one a line", Nowhere)
        .when(Copyable(CopyItem::Failures)),
    bind("copy-sentence", ANY, &["s"], Action::View(ViewAction::CopyItem(CopyItem::Sentence))).during(COPY)
        .described(Popup, "copy menu: sentence as Markdown", Nowhere).when(Copyable(CopyItem::Sentence)),
    bind("copy-curl", ANY, &["u"], Action::View(ViewAction::CopyItem(CopyItem::Curl))).during(COPY)
        .described(Popup, "copy menu: curl command", Nowhere).when(Copyable(CopyItem::Curl)),
    bind("copy-fetch", ANY, &["f"], Action::View(ViewAction::CopyItem(CopyItem::Fetch))).during(COPY)
        .described(Popup, "copy menu: chainview command", Nowhere).when(Copyable(CopyItem::Fetch)),
    bind("copy-address", ANY, &["a"], Action::View(ViewAction::CopyItem(CopyItem::Address))).during(COPY)
        .described(Popup, "copy menu: address of the hop", Nowhere).when(Copyable(CopyItem::Address)),
    bind("copy-peer", ANY, &["n"], Action::View(ViewAction::CopyItem(CopyItem::Peer))).during(COPY)
        .described(Popup, "copy menu: peer of the connection", Nowhere).when(Copyable(CopyItem::Peer)),
    bind("copy-line", ANY, &["l"], Action::View(ViewAction::CopyItem(CopyItem::Line))).during(COPY)
        .described(Popup, "copy menu: line of the log", Nowhere).when(Copyable(CopyItem::Line)),
    bind("copy-picture", ANY, &["E"], Action::View(ViewAction::CopyItem(CopyItem::Picture))).during(COPY)
        .described(Popup, "copy menu: picture of the screen, as a file", Nowhere).when(Copyable(CopyItem::Picture)),
    bind("help-search", ANY, &["/"], Action::View(ViewAction::Filter)).during(HELP)
        .described(Popup, "search the help", Left("search", "search")),
    bind("help-down", ANY, &["j", "down"], Action::View(ViewAction::Move(1))).during(HELP)
        .described(Popup, "scroll down", Left("scroll", "scroll")),
    bind("help-up", ANY, &["k", "up"], Action::View(ViewAction::Move(-1)))
        .during(HELP).described(Popup, "scroll up", Nowhere),
    bind("help-page-down", ANY, &["ctrl-d", "pagedown", "space"], Action::View(ViewAction::Page(1))).during(HELP)
        .described(Popup, "half a page down", Nowhere),
    bind("help-page-up", ANY, &["ctrl-u", "pageup"], Action::View(ViewAction::Page(-1))).during(HELP)
        .described(Popup, "half a page up", Nowhere),
    bind("help-first", ANY, &["g", "home"], Action::View(ViewAction::First))
        .during(HELP).described(Popup, "to the top", Nowhere),
    bind("help-last", ANY, &["G", "end"], Action::View(ViewAction::Last))
        .during(HELP).described(Popup, "to the bottom", Nowhere),

    bind("confirm-quit", ANY, &["q", "Q", "enter", "ctrl-c"], Action::Quit).during(CONFIRM)
        .described(Popup, "quit: cancel transfers, stop the nodes", Left("quit", "quit")),
    bind("quit-keep-nodes", ANY, &["d"], Action::QuitKeepNodes).during(CONFIRM)
        .described(Popup, "quit, and keep the nodes running", Left("quit, keep the nodes running", "keep nodes"))
        .when(OwnsNodes),

    bind("repaint-popup", ANY, &["ctrl-l"], Action::View(ViewAction::Repaint))
        .during(TEXT | HELP | PICK | COPY | CONFIRM)
        .described(Popup, "repaint the screen", Nowhere),
    bind("close-line", ANY, &["esc", "ctrl-c"], Action::View(ViewAction::Close)).during(TEXT)
        .described(Line, "close, and clear a filter", Right("back")),
    bind("close", ANY, &["esc", "q", "?", "f1", "ctrl-c", "!", "c", ","], Action::View(ViewAction::Close))
        .during(HELP | PICK)
        .described(Popup, "close", Right("back")),
    bind("close-copy", ANY, &["esc", "q", "?", "f1", "ctrl-c"], Action::View(ViewAction::Close)).during(COPY)
        .described(Popup, "close", Right("back")),
    bind("cancel-quit", ANY, &["esc", "n"], Action::View(ViewAction::Close))
        .during(CONFIRM).described(Popup, "do not quit", Right("stay")),
];

//! Details of one hop, connection or transfer: all known figures, and below them its chart, timing or path.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::fields::{DetailField, field};
use super::{chart, connections, fields, files, header, heading, hop_table, nodes, routes, setup};
use crate::route::Protocol;
use crate::snapshot::timing::{self, Step};
use crate::snapshot::{
    ChainSnapshot, ConnRole, ConnSnapshot, ConnState, FolderProgress, HopLink, HopSnapshot, Integrity, NodeSnapshot,
    Phase, TcpSnapshot, TransferSnapshot, UpstreamTotals,
};
use crate::ui::columns::{self, dash, ms, percent};
use crate::ui::focus::Panel;
use crate::ui::paint::{Row, row_of};
use crate::ui::state::UiState;
use crate::ui::theme::StyleRole;
use crate::units::{Bytes, Count, Eta, Grouped, HumanDuration, Rate};

/// From this width there is room for the shares of all waits of a hop.
const WIDE: u16 = 104;
/// Rows of the chart on a page that scrolls.
const LOWEST_CHART: u16 = 8;

/// Returns the title of the page of the selected row, with its position and the number of rows.
pub(super) fn title(state: &UiState, data: &ChainSnapshot, columns: u16) -> (String, usize, usize) {
    match subject(state) {
        Panel::Hops => {
            let Some(hop) = state.hop(data) else { return ("Hop".to_owned(), 0, 0) };
            let name = format!("Hop {}  {}", hop.number, hop_table::name(hop, columns / 2));
            (name, hop.number - 1, data.hops.len())
        }
        Panel::Connections => {
            let Some((hop, conn)) = state.selected_conn(data) else { return ("Connection".to_owned(), 0, 0) };
            let name = format!("Connection {} of hop {}", conn.id, hop.number);
            (name, state.row_of(Panel::Connections, data), state.lists.conns.len())
        }
        _ => {
            let Some(transfer) = state.transfer(data) else { return ("Transfer".to_owned(), 0, 0) };
            let name = format!("Transfer #{}  {}", transfer.number, transfer.name);
            (name, state.row_of(Panel::Transfers, data), state.lists.transfers.len())
        }
    }
}

/// Returns the panel that lists what the page is about.
fn subject(state: &UiState) -> Panel {
    match state.focus() {
        Panel::Hops | Panel::Nodes | Panel::Chart => Panel::Hops,
        Panel::Connections => Panel::Connections,
        Panel::Setup | Panel::Transfers | Panel::Log | Panel::Files => Panel::Transfers,
    }
}

/// Draws the page below its title, and returns the number of rows used. A chart fills the visible rows; beside panels
/// that show chart and setup already, the page has neither.
pub(super) fn content(
    state: &UiState,
    data: &ChainSnapshot,
    area: Rect,
    visible: u16,
    beside: bool,
    buffer: &mut Buffer,
) -> u16 {
    match subject(state) {
        Panel::Hops => {
            let Some(hop) = state.hop(data) else { return 0 };
            let rows = fields::draw(&state.theme, &hop_fields(hop), area, buffer);
            if beside {
                return rows;
            }
            let height = visible.saturating_sub(rows + 1).max(LOWEST_CHART);
            chart::draw(state, data, Rect { height, ..below(area, rows + 1) }.intersection(area), buffer);
            rows + 1 + height
        }
        Panel::Connections => {
            let Some((hop, conn)) = state.selected_conn(data) else {
                hop_table::draw_message(&state.theme, "no connections", row_of(area, 0), buffer);
                return 1;
            };
            let rows = fields::draw(&state.theme, &conn_fields(state, data, hop, conn), area, buffer);
            rows + 1 + path(state, data, conn.transfer.as_str(), below(area, rows + 1), buffer)
        }
        _ => {
            let Some(transfer) = state.transfer(data) else {
                hop_table::draw_message(&state.theme, "none yet", row_of(area, 0), buffer);
                return 1;
            };
            let mut rows = 1 + fields::draw(&state.theme, &transfer_fields(transfer), area, buffer);
            if let Some(folder) = &transfer.folder {
                rows += 1 + files::draw(state, (transfer, folder), state.file_row(data), below(area, rows), buffer);
            }
            if let Some(progress) = transfer.connections.as_ref().filter(|progress| routes::has_details(progress)) {
                rows += 1 + routes::draw(&state.theme, (transfer, progress), below(area, rows), buffer);
            }
            if !beside {
                let height = setup::needed(transfer);
                setup::draw(state, data, Rect { height, ..below(area, rows) }.intersection(area), buffer);
                rows += height + 1;
            }
            rows + path(state, data, transfer.id.as_str(), below(area, rows), buffer)
        }
    }
}

/// Returns the row of the page with the selected file of a folder, and that of their heading.
pub(super) fn selected_file(state: &UiState, data: &ChainSnapshot, area: Rect) -> Option<(u16, u16)> {
    let selected = u16::try_from(state.file_row(data)?).ok()?;
    let heading =
        1 + fields::draw(&state.theme, &transfer_fields(state.transfer(data)?), area, &mut Buffer::empty(area));
    Some((heading + 1 + selected, heading))
}

fn below(area: Rect, rows: u16) -> Rect {
    let rows = rows.min(area.height);
    Rect { y: area.y + rows, height: area.height - rows, ..area }
}

fn hop_fields(hop: &HopSnapshot) -> Vec<DetailField> {
    let (word, role) = hop_table::state_label(hop);
    let mut all = vec![field("state", word).with_role(role), field("address", hop.address.to_string())];
    all.extend((!hop.key.is_empty()).then(|| field("key", hop.key.to_string())));
    if let HopLink::Down { reason } = &hop.link {
        all.push(field("reason", reason.to_string()).with_role(StyleRole::Bad));
    }
    let Some(node) = &hop.node else { return all };
    if !hop.link.is_up() || header::is_stale(hop) {
        all.push(field("reported", format!("{} s ago", hop.age.as_secs())).with_role(StyleRole::Warn));
    }
    let totals = &node.totals;
    let protocols: Vec<&str> = node.protocols.iter().map(crate::text::SafeText::as_str).collect();
    all.extend([
        field("process", format!("{}, version {}", node.pid, node.version)),
        field("running for", nodes::uptime(node.uptime_us).to_string()),
        field("protocols", protocols.join(", ")),
        field("policy", node.policy.to_string()),
        field("faults", nodes::faults(hop)),
        field("connections", connection_counts(node)),
        field("requests", format!("{} served, {} failed", totals.served, totals.failed)),
        field("in, out", format!("{} and {}", per_second(hop.rate_in), per_second(hop.rate_out))),
        field("sent since start", Bytes(totals.flow.bytes_out).to_string()),
        field("buffered", hop.buffered.map_or_else(dash, |bytes| Bytes(bytes).to_string())),
        field("wait time", waits(hop.starved_share, hop.blocked_share, hop.limited_share)),
    ]);
    all.extend(kept_connections(hop, &node.upstream));
    all.extend(hop.tcp.iter().flat_map(tcp_fields));
    all
}

/// Returns how many connections a node has, and what they are used for.
fn connection_counts(node: &NodeSnapshot) -> String {
    let totals = &node.totals;
    let idle = node.connections.iter().filter(|conn| conn.state == ConnState::Idle).count();
    let idle = if idle == 0 { String::new() } else { format!(" ({} idle)", Count(idle as u64)) };
    format!("{} open{idle}, {} accepted, {} refused", totals.open, totals.accepted, totals.refused)
}

/// Returns the connections that a hop keeps to the next one; none for a hop that has relayed nothing.
fn kept_connections(hop: &HopSnapshot, upstream: &UpstreamTotals) -> Option<DetailField> {
    let share = upstream.reused_share()?;
    let reused = percent(Some(share));
    let kept = format!(
        "{} idle to hop {}, {} opened; {reused} of requests on a kept one",
        upstream.idle,
        hop.number + 1,
        upstream.opened
    );
    Some(field("next hop", kept))
}

fn waits(starved: Option<f64>, blocked: Option<f64>, limited: Option<f64>) -> String {
    if starved.is_none() && blocked.is_none() && limited.is_none() {
        return dash();
    }
    format!("{} starved, {} blocked, {} limited", percent(starved), percent(blocked), percent(limited))
}

fn tcp_fields(tcp: &TcpSnapshot) -> [DetailField; 3] {
    let share = |part: u64| percent((tcp.busy_us > 0).then(|| part as f64 / tcp.busy_us as f64));
    let (receiver, buffer) = (share(tcp.receiver_limited_us), share(tcp.buffer_limited_us));
    [
        field("network", format!("rtt {} ms, cwnd {}", ms(tcp.rtt_us), Count(tcp.cwnd))),
        field("retransmits", format!("{}, delivery rate {}", Count(tcp.retransmits), Rate(tcp.delivery_rate))),
        field("send limited", format!("{receiver} receive window, {buffer} send buffer")),
    ]
}

fn conn_fields(state: &UiState, data: &ChainSnapshot, hop: &HopSnapshot, conn: &ConnSnapshot) -> Vec<DetailField> {
    let (rate_in, rate_out) = state.history().rates.of(hop, conn).unwrap_or_default();
    let flow = &conn.flow;
    let share = |us: u64| (flow.active_us > 0).then(|| us as f64 / flow.active_us as f64);
    let size = conn.size.map_or_else(dash, |size| Bytes(size).to_string());
    let upstream = if hop.origin { "the disk".to_owned() } else { conn.upstream.to_string() };
    let mut all = vec![
        field("state", conn.state_label()),
        field("transfer", columns::transfer(data, conn)),
        field(
            if conn.role == ConnRole::Tunnel { "tunnel to" } else { "file" },
            if conn.size.is_some() { format!("{}, {size}", conn.name) } else { conn.name.to_string() },
        ),
        field("from", upstream),
        field("to", conn.peer.to_string()),
        field(
            "protocol",
            format!(
                "{} toward the client, {} toward the origin",
                name_or_dash(conn.protocol),
                name_or_dash(conn.upstream_protocol)
            ),
        ),
        field("open for", Eta(Some(Duration::from_millis(conn.age_ms / 1000 * 1000))).to_string()),
        field("in", format!("{}, {}", Bytes(flow.bytes_in), per_second(rate_in))),
        field("out", format!("{}, {}", Bytes(flow.bytes_out), per_second(rate_out))),
        field("wait time", waits(share(flow.starved_us), share(flow.blocked_us), share(flow.limited_us))),
    ];
    all.extend((!conn.key.is_empty()).then(|| field("signed by", conn.key.to_string())));
    if let Some(flow) = &conn.upstream_flow {
        all.push(field("to next hop", format!("{} of {}", Bytes(flow.bytes_out), Bytes(flow.bytes_in))));
    }
    if let Some(tcp) = &conn.tcp {
        all.extend(tcp_fields(tcp));
        let queues = format!("{} received, {} unsent", Bytes(conn.queued_in), Bytes(conn.queued_out));
        all.push(field("socket queues", queues));
    }
    all
}

fn name_or_dash(protocol: Option<Protocol>) -> &'static str {
    protocol.map_or("-", Protocol::as_str)
}

fn folder_fields(folder: &FolderProgress) -> Vec<DetailField> {
    let total = folder.total.map_or_else(String::new, |total| format!(" of {}", Grouped(total)));
    let mut all = vec![
        field("files", format!("{}{total}", Grouped(folder.done + folder.present))),
        field("results", folder.results()).with_role(if folder.failed > 0 { StyleRole::Bad } else { StyleRole::Plain }),
    ];
    let s = if folder.omitted == 1 { "" } else { "s" };
    let omitted = || format!("{} symbolic link{s} or special file{s}", Grouped(folder.omitted));
    all.extend((folder.omitted > 0).then(|| field("left out", omitted())));
    all.extend(folder.current.as_ref().map(|path| field("current file", path.to_string()).with_role(StyleRole::Flow)));
    all
}

fn transfer_fields(t: &TransferSnapshot) -> Vec<DetailField> {
    let role = match t.phase {
        Phase::Done => StyleRole::Good,
        Phase::Failed => StyleRole::Bad,
        Phase::Cancelled | Phase::Retrying | Phase::Paused | Phase::Locked => StyleRole::Warn,
        _ => StyleRole::Flow,
    };
    let size = t.size.map_or_else(|| "?".to_owned(), |size| format!("{} ({size} bytes)", Bytes(size)));
    let share = |us: u64| (t.flow.active_us > 0).then(|| us as f64 / t.flow.active_us as f64);
    let pace = match t.phase {
        Phase::Queued => dash(),
        phase if phase.is_over() => format!("{}, in {}", Rate(t.rate), HumanDuration(t.elapsed)),
        Phase::Paused => format!("-, for {}", HumanDuration(t.elapsed)),
        _ => format!("{}, for {}, ETA {}", Rate(t.rate), HumanDuration(t.elapsed), Eta(t.eta)),
    };
    let mut all = vec![
        field("phase", t.phase.label()).with_role(role),
        field("received", format!("{} of {size}", Bytes(t.received))),
        field("rate", pace),
    ];
    let how = if t.tunnel.is_empty() { "" } else { ", through a tunnel" };
    all.extend((!t.key.is_empty()).then(|| field("encrypted", format!("to {}{how}", t.key))));
    all.extend(t.folder.iter().flat_map(folder_fields));
    // Usual values are omitted, to leave room for unusual ones.
    all.extend((t.attempt > 1).then(|| field("attempt", t.attempt.to_string())));
    all.extend((t.resumed_from > 0).then(|| field("resumed at", Bytes(t.resumed_from).to_string())));
    let note = t.connections.as_ref().and_then(|progress| progress.note.as_ref());
    all.extend(note.map(|why| field("connections", format!("one: {why}"))));
    all.extend(t.rate_limit.map(|cap| field("rate limit", Rate(cap).to_string())));
    all.extend([
        field("written to", t.path.to_string()),
        field("client wait", waits(share(t.flow.starved_us), share(t.flow.blocked_us), share(t.flow.limited_us))),
    ]);
    all.extend(
        t.stall.map(|stall| {
            field("stalled", format!("for {:.1} s", stall.lasting.as_secs_f64())).with_role(StyleRole::Warn)
        }),
    );
    all.extend(t.verdict.map(|verdict| field("verdict", verdict.to_string())));
    let local = match &t.integrity {
        Integrity::Pending => None,
        // Each file of a folder has a digest of its own.
        Integrity::Verified { digest } if digest.is_empty() => None,
        Integrity::Verified { digest } => {
            all.push(field("integrity", format!("verified: {}", safe(digest))).with_role(StyleRole::Good));
            Some(digest)
        }
        Integrity::SizeChecked { digest, reason } => {
            all.push(field("integrity", format!("size-checked: {reason}; {}", safe(digest))));
            Some(digest)
        }
    };
    let origin = t.origin_digest.as_ref().filter(|digest| !digest.is_empty());
    all.extend(origin.map(|digest| {
        let same = local == Some(digest);
        field("origin digest", if same { "equal".to_owned() } else { safe(digest) })
    }));
    all.extend(t.origin_key.map(|key| field("origin key", key.to_string())));
    all.extend(passed_at(t, Step::FirstByte).map(|text| field("first byte", text)));
    all.extend(passed_at(t, Step::LastByte).map(|text| field("last byte", text)));
    all.extend(t.started_over.as_ref().map(|why| field("started over", why.to_string()).with_role(StyleRole::Warn)));
    let (name, role) = if t.phase == Phase::Locked { ("why", StyleRole::Warn) } else { ("error", StyleRole::Bad) };
    all.extend(t.error.as_ref().map(|error| field(name, error.to_string()).with_role(role)));
    all
}

/// Returns when the first or last byte passed each stage that reported it; `None` while none has.
fn passed_at(t: &TransferSnapshot, step: Step) -> Option<String> {
    let at = |row: &&timing::WaterfallRow| {
        let stage = if row.stage == 0 { "client".to_owned() } else { format!("hop {}", row.stage) };
        // The clamp exceeds the length of any real transfer.
        format!("{stage} {}", HumanDuration(Duration::from_secs_f64((row.end_ms() / 1000.0).clamp(0.0, 1e9))))
    };
    let mut reported: Vec<_> = t.waterfall.iter().filter(|row| row.step == step).collect();
    reported.sort_by_key(|row| row.stage);
    (!reported.is_empty()).then(|| reported.iter().map(at).collect::<Vec<_>>().join(", "))
}

/// Sanitizes a digest, which came over the network.
fn safe(digest: &str) -> String {
    crate::text::SafeText::new(digest).to_string()
}

/// Draws one transfer on every hop, in chain order: its connection there, or the record of the hop after its end.
/// Returns the number of rows used.
fn path(state: &UiState, data: &ChainSnapshot, id: &str, area: Rect, buffer: &mut Buffer) -> u16 {
    if id.is_empty() {
        return 0;
    }
    let theme = &state.theme;
    let number = data.transfers.iter().find_map(|transfer| transfer.connection_number(id));
    let name = number.map_or_else(|| "Path".to_owned(), |number| format!("Path of connection {number}"));
    heading::draw(theme, &name, "", false, area, buffer);
    let ours = data.transfer_of(id).filter(|transfer| transfer.is_of_latest(id));
    let is_it = data.has_request(id);
    for (i, hop) in data.route_hops().enumerate() {
        let mut row = Row::new(buffer, row_of(area, 1 + i));
        row.skip(2).cell_right(2, &hop.number.to_string(), theme.style(StyleRole::Plain)).skip(2);
        let conns = hop.node.as_ref().map_or(&[] as &[ConnSnapshot], |node| &node.connections);
        if let Some(conn) = conns.iter().find(&is_it) {
            let rates = state.history().rates.of(hop, conn).unwrap_or_default();
            row.cell(8, conn.state_label(), theme.style(StyleRole::Flow)).skip(1);
            figures(state, rates, conn.flow.bytes_out, conn.peer.as_str(), &mut row);
        } else if let Some(part) = ours.and_then(|transfer| *transfer.hop_records.get(i)?) {
            let (word, role) = match (part.body_error, part.status) {
                (None, 200..300) => ("done", StyleRole::Good),
                _ => ("failed", StyleRole::Bad),
            };
            row.cell(8, word, theme.style(role)).skip(1);
            let flow = &part.flow;
            let mean = |bytes: u64| u64::try_from(u128::from(bytes) * 1_000_000 / u128::from(flow.active_us.max(1)));
            let rates = (mean(flow.bytes_in).unwrap_or(u64::MAX), mean(flow.bytes_out).unwrap_or(u64::MAX));
            let share = |us: u64| (flow.active_us > 0).then(|| us as f64 / flow.active_us as f64);
            let [starved, blocked, limited] = [flow.starved_us, flow.blocked_us, flow.limited_us].map(share);
            let tail = match part.body_error {
                Some(body_error) => body_error.words().to_owned(),
                None if area.width >= WIDE => format!("time {}", waits(starved, blocked, limited)),
                None => {
                    let [starved, blocked, limited] = [starved, blocked, limited].map(Option::unwrap_or_default);
                    columns::main_wait(starved, blocked, limited, hop.origin).label().to_owned()
                }
            };
            figures(state, rates, flow.bytes_out, &tail, &mut row);
        } else {
            row.put(no_data_reason(hop, ours), theme.style(StyleRole::Dim));
        }
    }
    1 + u16::try_from(data.route_hops().count()).unwrap_or(u16::MAX)
}

/// Formats a rate; a dash for none.
fn per_second(rate: u64) -> String {
    if rate == 0 { dash() } else { Rate(rate).to_string() }
}

/// Draws rates in and out, bytes sent, and a remark.
fn figures(state: &UiState, rates: (u64, u64), sent: u64, tail: &str, row: &mut Row<'_>) {
    let (into, out) = (per_second(rates.0), per_second(rates.1));
    let text = format!("in {into:>10}  out {out:>10}  sent {:>8}", Bytes(sent));
    row.put(&text, state.theme.style(StyleRole::Plain)).skip(3).put(tail, state.theme.style(StyleRole::Dim));
}

/// Returns why a hop has no data on a transfer.
fn no_data_reason<'a>(hop: &'a HopSnapshot, ours: Option<&TransferSnapshot>) -> &'a str {
    match &hop.link {
        link @ (HopLink::Legacy | HopLink::Foreign | HopLink::Down { .. }) => connections::no_data_reason(link),
        _ if ours.is_some_and(|transfer| transfer.phase == Phase::Cancelled) => "no record: the transfer was cancelled",
        _ => "-",
    }
}

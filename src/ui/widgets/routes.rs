//! Routes and connections of one transfer, on its detail page: their sum, the map of the file, each route with what
//! limits it and its connections side by side, and how their number changed.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{file_map, heading};
use crate::connections::Connections;
use crate::snapshot::{
    ConnectionProgress, ConnectionState, ConnectionsProgress, RouteProgress, RouteState, TransferSnapshot,
};
use crate::text::SafeText;
use crate::ui::paint::{Row, cut_middle, row_of, split_words};
use crate::ui::theme::{StyleRole, Theme};
use crate::units::{Bytes, HumanDuration, Rate};

/// From this width there is room for the map: one column is at most a hundredth of the file.
const MAPPED: u16 = 110;
/// Width of the names of the map and the routes.
const NAME: u16 = 9;
/// Minimum width of a connection: its number, a bar of ten columns, its rate and gaps.
const CELL: u16 = 28;
/// Most connections side by side: longer rows are hard to read.
const MAX_CELLS: u16 = 4;
/// Columns before the lines below a route.
const INDENT: u16 = 4;
/// Most lines of a sentence.
const MAX_LINES: usize = 3;
/// Columns of the time of a step, as `after 12 min 35 s`.
const STEP_TIME: u16 = 18;
/// Most steps that are listed; the log has all of them.
const MAX_SHOWN_STEPS: usize = 6;
/// Columns of the heading that are not for its remark.
const HEADED: u16 = 18;

/// Returns whether there is more to show than the transfer itself has.
pub(super) fn has_details(progress: &ConnectionsProgress) -> bool {
    progress.routes.len() > 1 || progress.connections.len() > 1 || !progress.steps.is_empty()
}

/// Draws the heading and all rows, and returns the number of rows used.
pub(super) fn draw(
    theme: &Theme,
    (transfer, progress): (&TransferSnapshot, &ConnectionsProgress),
    area: Rect,
    buffer: &mut Buffer,
) -> u16 {
    let remark = heading::joined(&sum(transfer, progress), "", "   ", area.width.saturating_sub(HEADED));
    heading::draw(theme, "Connections", &remark, false, area, buffer);
    let mut page = Page { theme, area, buffer, y: 1 };
    if let Some(size) = transfer.size.filter(|_| area.width >= MAPPED) {
        page.map(progress, size);
    }
    for route in &progress.routes {
        if progress.routes.len() > 1 || route.state != RouteState::Active {
            page.route(route, progress.routes.len() > 1, transfer.phase.is_over());
        }
        page.connections(transfer, progress, route);
    }
    page.steps(progress);
    page.y
}

/// Returns what all connections do together: their number, of how many, and the rate.
fn sum(transfer: &TransferSnapshot, progress: &ConnectionsProgress) -> Vec<String> {
    if transfer.phase.is_over() {
        return vec![format!("{} in {}", Bytes(transfer.received), HumanDuration(transfer.elapsed))];
    }
    let open = progress.open().count();
    let routes = progress.routes.len();
    let number = match progress.most {
        Connections::Auto => format!("{open}, auto"),
        // Each route has at least one.
        Connections::Fixed(most) => format!("{open} of {}", most.get().max(routes)),
    };
    let routes = if routes > 1 { format!("{routes} routes") } else { String::new() };
    vec![number, routes, Rate(transfer.rate).to_string()]
}

/// The rows of the page that are drawn one after the other.
struct Page<'a> {
    theme: &'a Theme,
    area: Rect,
    buffer: &'a mut Buffer,
    y: u16,
}

impl Page<'_> {
    /// Takes the next row.
    fn next(&mut self) -> Rect {
        let row = row_of(self.area, usize::from(self.y));
        self.y = self.y.saturating_add(1);
        row
    }

    /// Draws which parts of the file are here, and by which route they came.
    fn map(&mut self, progress: &ConnectionsProgress, size: u64) {
        let area = self.next();
        let (theme, dim) = (self.theme, self.theme.style(StyleRole::Dim));
        let area = Rect { width: area.width.saturating_sub(2), ..area };
        let mut row = Row::new(self.buffer, area);
        row.skip(2).cell(NAME, "map", dim);
        file_map::draw(theme, &progress.map, size, &mut row);
        if let Some(legend) = file_map::legend(&progress.map) {
            let area = self.next();
            Row::new(self.buffer, area).skip(2 + NAME).put(&legend, dim);
        }
    }

    /// Draws a route, and below it what limits it or how it failed. Of a single one, the transfer has both.
    fn route(&mut self, route: &RouteProgress, several: bool, over: bool) {
        let area = self.next();
        let (theme, plain) = (self.theme, self.theme.style(StyleRole::Plain));
        let (word, role) = match route.state {
            RouteState::Checking | RouteState::Active if over && route.received == 0 => ("unused", StyleRole::Dim),
            RouteState::Checking | RouteState::Active if over => ("used", StyleRole::Dim),
            state @ RouteState::Checking => (state.label(), StyleRole::Dim),
            state @ RouteState::Active => (state.label(), StyleRole::Flow),
            state @ RouteState::Waiting => (state.label(), StyleRole::Warn),
            state @ (RouteState::Failed | RouteState::Refused) => (state.label(), StyleRole::Bad),
        };
        let rate = if route.rate > 0 { Rate(route.rate).to_string() } else { "-".to_owned() };
        let mut row = Row::new(self.buffer, area);
        row.skip(2).cell(NAME, &format!("route {}", route.number), theme.style(StyleRole::Title));
        row.cell(9, word, theme.style(role)).cell_right(10, &rate, plain);
        row.skip(2).cell_right(8, &Bytes(route.received).to_string(), plain).skip(2);
        let chain = cut_middle(route.chain.as_str(), row.room().saturating_sub(1));
        row.put(&chain, theme.style(StyleRole::Dim));
        if !several {
            return;
        }
        match (&route.error, route.verdict) {
            // A route with an error is active as long as others of its connections work.
            (Some(error), _) => {
                let role = if role == StyleRole::Bad { StyleRole::Bad } else { StyleRole::Warn };
                self.sentence(&error.to_string(), INDENT, role);
            }
            (None, Some(verdict)) => self.sentence(&verdict.to_string(), INDENT, StyleRole::Plain),
            (None, None) => {}
        }
    }

    /// Draws the connections of a route side by side, and below them why some of them wait. After the end of the
    /// transfer, each has what it received.
    fn connections(&mut self, transfer: &TransferSnapshot, progress: &ConnectionsProgress, route: &RouteProgress) {
        let over = transfer.phase.is_over();
        let is_shown = |c: &&ConnectionProgress| over || c.state != ConnectionState::Ended;
        let own = || progress.connections.iter().filter(|c| c.route == route.number).filter(is_shown);
        let room = self.area.width.saturating_sub(2);
        let columns = (room / CELL).clamp(1, MAX_CELLS);
        let own: Vec<&ConnectionProgress> = own().collect();
        for connections in own.chunks(usize::from(columns)) {
            let area = self.next();
            for (at, connection) in (0..).zip(connections) {
                let cell = Rect { x: area.x + 2 + at * (room / columns), width: room / columns - 2, ..area };
                self.connection(connection, over.then_some(transfer.received), cell);
            }
        }
        let mut errors: Vec<(&SafeText, Vec<String>)> = Vec::new();
        for connection in own.iter().filter(|c| c.state == ConnectionState::Waiting && c.error != route.error) {
            let (Some(error), number) = (&connection.error, connection.number.to_string()) else { continue };
            match errors.iter_mut().find(|(text, _)| *text == error) {
                Some((_, numbers)) => numbers.push(number),
                None => errors.push((error, vec![number])),
            }
        }
        for (error, numbers) in errors {
            self.sentence(&format!("{}: {error}", numbers.join(", ")), INDENT, StyleRole::Warn);
        }
    }

    /// Draws one connection: its number, its range as a gauge, its rate. After the end, its share of all bytes.
    fn connection(&mut self, connection: &ConnectionProgress, received: Option<u64>, cell: Rect) {
        let theme = self.theme;
        let share = |part: u64, of: u64| if of == 0 { 0.0 } else { (part as f64 / of as f64).clamp(0.0, 1.0) };
        let (share, text, role) = match (received, connection.state) {
            (Some(all), _) => {
                (share(connection.received, all), Bytes(connection.received).to_string(), StyleRole::Plain)
            }
            (None, state) => {
                let length = connection.end.saturating_sub(connection.from);
                let (text, role) = match state {
                    ConnectionState::Receiving => (Rate(connection.rate).to_string(), StyleRole::Flow),
                    ConnectionState::Waiting => (state.label().to_owned(), StyleRole::Warn),
                    ConnectionState::Connecting | ConnectionState::Ended => (state.label().to_owned(), StyleRole::Dim),
                };
                (share(connection.at.saturating_sub(connection.from), length), text, role)
            }
        };
        let style = theme.style(role);
        let mut row = Row::new(self.buffer, cell);
        row.cell_right(3, &connection.number.to_string(), theme.style(StyleRole::Plain)).skip(1);
        row.put_right(&format!(" {text:>10}"), style);
        let columns = row.room();
        // The last column is filled only at the end, as in the gauge of the transfer.
        let full = ((share * f64::from(columns)) as u16).min(columns.saturating_sub(1));
        row.repeat(theme.glyphs.full, full, style);
        if share > 0.0 {
            row.put(theme.glyphs.head, style);
        }
        row.fill(theme.glyphs.rest, theme.style(StyleRole::Dim));
    }

    /// Draws the last steps, each with its time.
    fn steps(&mut self, progress: &ConnectionsProgress) {
        let from = progress.steps.len().saturating_sub(MAX_SHOWN_STEPS);
        for step in &progress.steps[from..] {
            let at = format!("after {}", HumanDuration(step.at));
            let row = row_of(self.area, usize::from(self.y));
            Row::new(self.buffer, row).skip(2).put(&at, self.theme.style(StyleRole::Dim));
            self.sentence(&progress.sentence(step), 2 + STEP_TIME, StyleRole::Plain);
        }
    }

    /// Draws a sentence on as many lines as it needs, after this many columns.
    fn sentence(&mut self, text: &str, indent: u16, role: StyleRole) {
        let room = usize::from(self.area.width.saturating_sub(indent + 1));
        for line in split_words(text, room, room, MAX_LINES) {
            let area = self.next();
            Row::new(self.buffer, area).skip(indent).put(&line, self.theme.style(role));
        }
    }
}

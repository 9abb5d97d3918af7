//! The connections and routes of one transfer: in its row, and on its detail page.

use chainview::options::ColorScheme;
use chainview::snapshot::{ChainSnapshot, ConnectionState, ConnectionsProgress, Phase, RouteState};

use super::script::{Script, on_every_screen};
use super::snapshots::{routes, streaming};

/// The whole detail page of the selected transfer: its lines joined, a sentence in one piece.
fn page(script: &mut Script) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut screen = script.keys("3 <enter>").screen();
    loop {
        let body: Vec<String> = screen.lines().skip(3).map(|line| line.trim().to_owned()).collect();
        let body = &body[..body.len() - 1];
        // Half of a page is shown again after each key.
        let known = (0..=body.len()).rev().find(|known| lines.ends_with(&body[..*known])).unwrap_or(0);
        lines.extend_from_slice(&body[known..]);
        let next = script.keys("<c-d>").screen();
        if next == screen {
            return lines.join("\n");
        }
        screen = next;
    }
}

fn words(page: &str) -> String {
    page.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The chain of `routes`, with a change.
fn changed(change: impl FnOnce(&mut ConnectionsProgress)) -> ChainSnapshot {
    let mut chain = routes();
    change(chain.transfers[0].connections.as_mut().unwrap());
    chain
}

#[test]
fn a_row_has_the_number_of_routes_or_connections_where_there_is_room() {
    let row = |columns, rows, chain: ChainSnapshot| {
        let screen = Script::new(columns, rows, chain).keys("3").screen();
        screen.lines().find(|line| line.contains("#1")).unwrap().trim_end().to_owned()
    };
    let single = || {
        changed(|progress| {
            progress.routes.truncate(1);
            progress.connections.iter_mut().for_each(|connection| connection.route = 1);
        })
    };
    for (columns, rows) in [(120, 40), (200, 60)] {
        assert!(row(columns, rows, routes()).ends_with("ETA 0:35      2 routes"));
        assert!(row(columns, rows, single()).ends_with("ETA 0:35      8 connections"));
        let mut limited = single();
        limited.transfers[0].rate_limit = Some(5_000_000);
        assert!(row(columns, rows, limited).ends_with("limit 5.0 MB/s"));
        assert!(row(columns, rows, streaming()).ends_with("ETA 0:35"), "a usual transfer has one connection");
    }
    for (columns, rows) in [(60, 15), (80, 24)] {
        assert!(row(columns, rows, routes()).ends_with("ETA 0:35"));
    }
}

#[test]
fn details_have_the_sum_and_each_route_with_its_connections() {
    on_every_screen(&routes(), |script| {
        let page = page(script);
        let heading = page.lines().find(|line| line.contains("▎ Connections ")).unwrap();
        assert!(heading.ends_with(" 8, auto   2 routes   44.4 MB/s"), "{page}");
        let line = |start: &str| page.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{page}"));
        assert!(line("route 1  active    32.7 MB/s   1.02 GB  127.0.0.").ends_with(":7003"));
        assert!(line("route 2  active    11.7 MB/s  362.6 MB  198.5").ends_with(":9101"));
        // Without another connection beside it, the last one of a route is first in its row.
        assert!(line("7 ━━━━━").contains("╸╌╌") && line("7 ━━━━━").contains(" 5.8 MB/s"), "{page}");
        let text = words(&page);
        assert!(text.contains("slowest: link 2>1 (loses packets), hop 2 is blocked 90% of the time"), "{page}");
        assert!(text.contains("after 2.9 s route 2: link 3 to 2 loses packets: 2 connections"), "{page}");
        assert!(
            text.contains(
                "route 1: back to 6: 8 connections brought 1.1 x so far, while link 2 to 1 still loses packets"
            ),
            "{page}"
        );
    });
}

#[test]
fn there_are_never_more_connections_than_the_heading_says() {
    let one = |open: usize| {
        let chain = changed(|progress| {
            progress.most = "1".parse().unwrap();
            progress.connections.retain(|connection| connection.number <= open);
        });
        let page = page(&mut Script::new(120, 40, chain));
        page.lines().find(|line| line.contains("▎ Connections ")).unwrap().to_owned()
    };
    assert!(one(2).contains(" 2 of 2   2 routes"), "each route has at least one: {}", one(2));
    assert!(one(1).contains(" 1 of 2   2 routes"), "{}", one(1));
}

#[test]
fn the_map_of_the_file_needs_a_wide_screen() {
    let map = |columns, rows, chain: ChainSnapshot| {
        let page = page(&mut Script::new(columns, rows, chain));
        page.lines().find(|line| line.starts_with("map ")).map(str::to_owned)
    };
    assert_eq!([map(60, 15, routes()), map(80, 24, routes())], [None, None]);
    for (columns, rows) in [(120, 40), (200, 60)] {
        let several = map(columns, rows, routes()).unwrap();
        assert!(several.contains("1╸╌╌") && several.contains("222╸") && !several.contains('3'), "{several}");
        let single = changed(|progress| {
            progress.routes.truncate(1);
            progress.map.iter_mut().for_each(|range| range.route = 1);
        });
        let single = map(columns, rows, single).unwrap();
        assert!(single.contains("━╸╌╌") && !single.contains('1'), "{single}");
        let resumed = changed(|progress| progress.map[0].route = 0);
        let resumed = map(columns, rows, resumed).unwrap();
        assert!(resumed.starts_with("map      00000") && resumed.contains("11╸"), "{resumed}");
    }
}

#[test]
fn a_failed_route_and_waiting_connections_state_why() {
    let chain = changed(|progress| {
        progress.routes[1].state = RouteState::Waiting;
        progress.routes[1].error = Some("hop 1 (198.51.100.7:9101): connection refused".into());
        let error = "hop 3 (127.0.0.1:7003): closed the connection after 1.2 MB";
        for number in [2, 4, 8] {
            let connection = &mut progress.connections[number - 1];
            connection.state = ConnectionState::Waiting;
            connection.error = Some(if number == 8 { progress.routes[1].error.clone().unwrap() } else { error.into() });
        }
        progress.connections[5].state = ConnectionState::Connecting;
    });
    on_every_screen(&chain, |script| {
        let page = page(script);
        assert!(page.contains("route 2  waiting ") && page.contains("connecting"), "{page}");
        let text = words(&page);
        assert!(text.contains("2, 4: hop 3 (127.0.0.1:7003): closed the connection after 1.2 MB"), "{page}");
        let refused = "hop 1 (198.51.100.7:9101): connection refused";
        assert_eq!(text.matches(refused).count(), 1, "the route has it: {page}");
    });
}

#[test]
fn one_connection_needs_no_further_rows() {
    let mut chain = changed(|progress| {
        progress.routes.truncate(1);
        progress.connections.truncate(1);
        progress.steps.clear();
        progress.note = Some("the origin does not support ranges".into());
    });
    on_every_screen(&chain, |script| {
        let page = page(script);
        assert!(!page.contains("Connections ─") && !page.contains("route 1"), "{page}");
        assert_eq!(words(&page).matches("one: the origin does not support ranges").count(), 1, "{page}");
    });
    chain.transfers[0].connections.as_mut().unwrap().note = None;
    let page = page(&mut Script::new(120, 40, chain));
    assert!(!page.contains("connections"), "{page}");
}

#[test]
fn after_the_end_each_connection_has_what_it_received() {
    let mut chain = routes();
    let transfer = &mut chain.transfers[0];
    (transfer.phase, transfer.received) = (Phase::Done, 2_730_000_000);
    let progress = transfer.connections.as_mut().unwrap();
    for connection in &mut progress.connections {
        (connection.state, connection.received) = (ConnectionState::Ended, 341_250_000);
    }
    progress.routes[1].received = 0;
    let screen = page(&mut Script::new(120, 40, chain));
    assert!(screen.contains("route 1  used ") && screen.contains("route 2  unused "), "{screen}");
    assert!(screen.contains("2.73 GB in 32.0 s") && screen.contains("7 ━╸╌╌╌╌╌╌╌╌╌╌   341.2 MB"), "{screen}");
}

#[test]
fn connections_of_one_transfer_are_named_by_it_on_every_hop() {
    let mut chain = routes();
    let node = chain.hops[0].node.as_mut().unwrap();
    let mut second = node.connections[0].clone();
    (second.id, second.transfer) = (9, "6f1c0002".into());
    node.connections.push(second);
    let mut script = Script::new(120, 40, chain);
    let screen = script.keys("2").screen();
    let rows: Vec<&str> = screen.lines().filter(|line| line.contains(" stream ") && line.contains(" #1 ")).collect();
    assert_eq!(rows.len(), 4, "{screen}");
    let path = page(&mut script);
    assert!(path.contains("Path of connection 1 "), "{path}");
}

#[test]
fn many_routes_in_ascii_fit_on_a_page_that_scrolls() {
    let chain = changed(|progress| {
        let route = progress.routes[1].clone();
        progress.routes =
            (1..=16).map(|number| chainview::snapshot::RouteProgress { number, ..route.clone() }).collect();
        let connection = progress.connections[0].clone();
        let one = |number| chainview::snapshot::ConnectionProgress { number, route: number, ..connection.clone() };
        progress.connections = (1..=16).map(one).collect();
        let map = progress.map.clone();
        progress.map =
            map.iter().zip(9..).map(|(range, route)| chainview::snapshot::ReceivedRange { route, ..*range }).collect();
    });
    on_every_screen(&chain, |script| {
        script.state.theme = chainview::ui::Theme::new(true, ColorScheme::Mono);
        let page = page(script);
        assert!(page.is_ascii() && page.contains("route 16 ") && page.contains("16 =="), "{page}");
        assert!(page.lines().rfind(|line| !line.is_empty()).unwrap().starts_with("3  stream "), "{page}");
    });
}

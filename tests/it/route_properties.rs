//! Properties of routes: they survive printing and parsing, and no input makes the parser panic.

use std::net::IpAddr;

use chainview::route::{FileName, Hop, Host, HostPort, MAX_HOPS, Protocol, Route};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn host() -> impl Strategy<Value = Host> {
    prop_oneof![
        any::<IpAddr>().prop_map(Host::Ip),
        "[a-z_][a-z0-9_-]{0,20}(\\.[a-z0-9-]{1,10}){0,3}".prop_map(Host::Name),
    ]
}

fn word() -> impl Strategy<Value = String> {
    "[!-<>-~]{1,12}".prop_filter("a key is no plain word", |word| !word.contains('='))
}

fn hop() -> impl Strategy<Value = Hop> {
    let address = (host(), 1..=u16::MAX).prop_map(|(host, port)| HostPort { host, port });
    let protocol = option::of(prop_oneof![Just(Protocol::Http), Just(Protocol::Legacy)]);
    let token_file = "[!-.0-~][!-~]{0,11}".prop_filter("no way out", |name| name.split('/').all(|part| part != ".."));
    let other = vec(prop_oneof![word(), "[a-m]{1,6}[0-9]=[!-~]{0,8}"], 0..3);
    (address, protocol, option::of("[!-~]{1,12}"), option::of(token_file), other).prop_map(
        |(address, protocol, name, token_file, other)| {
            let mut hop = Hop::new(address);
            (hop.protocol, hop.name, hop.token_file, hop.other) = (protocol, name, token_file, other);
            hop
        },
    )
}

fn base() -> impl Strategy<Value = Option<String>> {
    option::of("/([a-z0-9_~-][a-z0-9._~-]{0,7}/){0,3}")
}

fn file_name() -> impl Strategy<Value = FileName> {
    prop_oneof![vec(any::<u8>(), 1..64), "[ -~]{1,40}".prop_map(String::into_bytes)]
        // A byte order mark before the name is not part of it, a second one is.
        .prop_flat_map(|bytes| (Just(bytes), proptest::bool::weighted(0.1)))
        .prop_map(|(bytes, mark)| if mark { [&b"\xef\xbb\xbf"[..], &bytes].concat() } else { bytes })
        .prop_filter_map("not a name", |bytes| FileName::new(&bytes).ok())
}

fn route() -> impl Strategy<Value = Route> {
    (file_name(), vec(hop(), 1..=MAX_HOPS), base()).prop_map(|(file, mut hops, base)| {
        hops.last_mut().unwrap().base = base;
        Route::new(file, hops).unwrap()
    })
}

/// Lines that look like an input file, or nearly so.
fn lineish() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        "[ -~]{0,30}",
        "[a-z0-9.:\\[\\]]{0,20} {0,2}[0-9]{0,6}( [a-z-]{1,10}=[!-~]{0,10}){0,3}",
        "(127\\.0\\.0\\.1|::1|\\[::1\\]|host)[ :][0-9]{1,5}( (wire|base|name|token-file)=(http|seed|/|/x/|)){0,3}",
        "#.{0,10}",
        any::<String>(),
    ];
    vec(line, 0..40).prop_flat_map(|lines| prop_oneof![Just("\n"), Just("\r\n")].prop_map(move |end| lines.join(end)))
}

proptest! {
    #[test]
    fn a_printed_route_parses_to_itself(route in route()) {
        let printed = route.print();
        let shown = String::from_utf8_lossy(&printed).into_owned();
        prop_assert_eq!(Route::parse(&printed), Ok(route), "{}", shown);
    }

    #[test]
    fn parsed_routes_survive_printing(text in lineish()) {
        if let Ok(route) = Route::parse(text.as_bytes()) {
            let printed = route.print();
            let shown = String::from_utf8_lossy(&printed).into_owned();
            prop_assert_eq!(Route::parse(&printed), Ok(route), "{}", shown);
        }
    }

    #[test]
    fn any_bytes_parse_or_name_a_line(bytes in vec(any::<u8>(), 0..400)) {
        names_a_line(&bytes)?;
    }

    #[test]
    fn any_lines_parse_or_name_a_line(text in lineish()) {
        names_a_line(text.as_bytes())?;
    }

    #[test]
    fn an_element_keeps_the_keys_of_later_hops(hop in hop(), base in base()) {
        let mut hop = hop;
        hop.base = base;
        let element = hop.element();
        let read = Hop::parse_element(&element).map_err(TestCaseError::fail)?;
        let fields = |hop: &Hop| (hop.address.clone(), hop.protocol, hop.base.clone());
        prop_assert_eq!(fields(&read), fields(&hop), "{}", element);
        prop_assert_eq!((read.name, read.token_file, read.other), (None, None, Vec::new()));
    }

    #[test]
    fn an_element_survives_a_list(hops in vec(hop(), 1..5), base in base()) {
        let mut hops = hops;
        hops.last_mut().unwrap().base = base;
        let list = hops.iter().map(Hop::element).collect::<Vec<_>>().join(", ");
        let read: Result<Vec<_>, _> = list.split(',').map(|element| Hop::parse_element(element.trim())).collect();
        let addresses = |hops: &[Hop]| hops.iter().map(|hop| hop.address.clone()).collect::<Vec<_>>();
        prop_assert_eq!(addresses(&read.map_err(TestCaseError::fail)?), addresses(&hops), "{}", list);
    }

    #[test]
    fn a_legacy_line_is_a_hop_line_without_the_clients_own(hop in hop()) {
        let read = Hop::parse_line(&hop.legacy_line()).map_err(TestCaseError::fail)?;
        prop_assert_eq!((&read.address, &read.protocol), (&hop.address, &hop.protocol));
        prop_assert_eq!((read.name, read.token_file), (None, None));
    }

    #[test]
    fn nothing_makes_an_element_panic(text in any::<String>()) {
        let _ = Hop::parse_element(&text);
        let _ = Hop::parse_line(&text);
    }
}

/// Parses, or names a line that exists; for a file that ends too early, the line after it.
fn names_a_line(input: &[u8]) -> Result<(), TestCaseError> {
    if let Err(error) = Route::parse(input) {
        let lines = input.split(|byte| *byte == b'\n').count();
        prop_assert!((1..=lines.max(2)).contains(&error.line), "line {} of {lines}: {error}", error.line);
        prop_assert!(!error.reason.is_empty());
    }
    Ok(())
}

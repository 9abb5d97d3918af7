//! Cost of a transfer's overhead: request and reply heads of both protocols, the meter, the verdict.
#![allow(clippy::unwrap_used, reason = "a benchmark stops where something is not as it should be")]

use std::hint::black_box;
use std::time::Duration;

use chainview::keys::{KeyPair, SpentIds};
use chainview::meter::{Meter, RateWindow, WaitKind};
use chainview::route::{FileName, Hop};
use chainview::snapshot::Flow;
use chainview::verdict::{Stage, evaluate};
use chainview::wire::http::{encode_reply, encode_request, parse_reply, parse_request, sign_request, signed_head};
use chainview::wire::{Method, Reply, Request, TransferId, legacy};
use divan::Bencher;

fn main() {
    divan::main();
}

/// A request as the first of three hops receives it from a chainview client.
fn request() -> Request {
    let route = ["10.0.0.3:9102", "10.0.0.4:9103"].map(|hop| Hop::parse_element(hop).unwrap());
    Request {
        host: Some("10.0.0.2:9101".parse().unwrap()),
        route: route.into(),
        transfer: Some(TransferId(0x6f1c_0d5e_93b1_4a27_8c64_0f2b_7a9e_d3c5)),
        timeout: Some(Duration::from_secs(15)),
        interim: true,
        keep_alive: true,
        ..Request::new(Method::Get, FileName::new(b"reports/2026/report.pdf").unwrap())
    }
}

/// A reply as it returns through two relays.
fn reply() -> Reply {
    Reply {
        status: 200,
        length: Some(2 << 30),
        etag: Some("\"80000000-18c2f0a3b1d4e5f6\"".to_owned()),
        last_modified: Some("Mon, 23 Nov 2026 10:00:00 GMT".to_owned()),
        date: Some("Mon, 23 Nov 2026 10:00:01 GMT".to_owned()),
        accept_ranges: Some(true),
        hops: Some(2),
        via: Some("1.1 chainview, 1.1 chainview".to_owned()),
        timing: Some(["resolve;dur=0.000, connect;dur=0.080, wait;dur=0.400"; 2].join(", ")),
        keep_alive: true,
        ..Reply::default()
    }
}

fn pair() -> KeyPair {
    KeyPair::parse(&KeyPair::generate().unwrap()).unwrap()
}

/// Signatures of a client for all hops of a chain of 3.
#[divan::bench]
fn signatures_of_a_request(bencher: Bencher<'_, '_>) {
    let (pair, request, hop) = (pair(), request(), Hop::new("10.0.0.2:9101".parse().unwrap()));
    bencher.bench(|| sign_request(&pair, &hop, black_box(&request), 1_800_000_000, 1).unwrap());
}

/// What a hop does more for a signed request: reads what is signed, verifies the signature, remembers the number.
#[divan::bench]
fn signature_check(bencher: Bencher<'_, '_>) {
    const NOW: u64 = 1_800_000_000;
    let (pair, hop) = (pair(), Hop::new("10.0.0.2:9101".parse().unwrap()));
    let mut request = request();
    request.signatures = sign_request(&pair, &hop, &request, NOW, 1).unwrap().map(Box::new);
    let mut head = Vec::new();
    encode_request(&request, None, &mut head);
    let mut nonce = 0;
    let mut spent = SpentIds::new(NOW);
    bencher.bench_local(|| {
        let signed = signed_head(black_box(&head)).unwrap();
        let mut claim = signed.signatures.claim(signed.hops_after, &signed.covered, NOW).unwrap();
        claim.verify(&signed.covered).unwrap();
        nonce += 1;
        claim.id.nonce = nonce;
        spent.admit(claim.id, NOW).unwrap();
    });
}

#[divan::bench]
fn http_request_read(bencher: Bencher<'_, '_>) {
    let mut head = Vec::new();
    encode_request(&request(), None, &mut head);
    bencher.bench(|| parse_request(black_box(&head)).unwrap().unwrap());
}

#[divan::bench]
fn http_request_write(bencher: Bencher<'_, '_>) {
    let request = request();
    bencher.bench(|| {
        let mut head = Vec::new();
        encode_request(black_box(&request), None, &mut head);
        head
    });
}

#[divan::bench]
fn http_reply_read(bencher: Bencher<'_, '_>) {
    let mut head = Vec::new();
    encode_reply(&reply(), &mut head);
    bencher.bench(|| parse_reply(black_box(&head), Method::Get).unwrap().unwrap());
}

#[divan::bench]
fn http_reply_write(bencher: Bencher<'_, '_>) {
    let reply = reply();
    bencher.bench(|| {
        let mut head = Vec::new();
        encode_reply(black_box(&reply), &mut head);
        head
    });
}

#[divan::bench]
fn legacy_request_read(bencher: Bencher<'_, '_>) {
    let next = Hop::parse_element("10.0.0.2:9101").unwrap();
    let sent = legacy::encode_request(&request(), &next).unwrap();
    bencher.bench(|| legacy::parse_request(black_box(&sent)));
}

#[divan::bench]
fn legacy_request_write(bencher: Bencher<'_, '_>) {
    let next = Hop::parse_element("10.0.0.2:9101").unwrap();
    let request = request();
    bencher.bench(|| legacy::encode_request(black_box(&request), &next).unwrap());
}

/// The legacy protocol's reply is a number in digits; writing it is `to_string`.
#[divan::bench]
fn legacy_reply_read(bencher: Bencher<'_, '_>) {
    bencher.bench(|| legacy::parse_status(black_box(b"2147483648")));
}

/// Cost of metering a body, once a chunk: both counters, one wait of each kind begun and ended.
#[divan::bench]
fn meter_chunk(bencher: Bencher<'_, '_>) {
    let meter = Meter::default();
    meter.begin(0);
    bencher.bench_local(|| {
        meter.wait(WaitKind::Read, black_box(10));
        meter.resume(|| black_box(20));
        meter.record_read(black_box(131_072));
        meter.wait(WaitKind::Write, black_box(30));
        meter.resume(|| black_box(40));
        meter.record_write(black_box(131_072));
    });
}

/// Cost of sampling a body for a report.
#[divan::bench]
fn meter_flow(bencher: Bencher<'_, '_>) {
    let meter = Meter::default();
    meter.begin(0);
    bencher.bench_local(|| meter.flow(black_box(1_000_000)));
}

/// One more report in a window that gets four a second.
#[divan::bench]
fn rate_window_feed(bencher: Bencher<'_, '_>) {
    let (mut window, mut now) = (RateWindow::default(), 0);
    bencher.bench_local(|| {
        now += 250_000;
        window.feed(black_box(now), now)
    });
}

/// The longest evaluation there is: every hop waits for the origin.
#[divan::bench(args = [3, 8, 32])]
fn evaluate_verdict(bencher: Bencher<'_, '_>, hops: usize) {
    let waits =
        Flow { bytes_in: 1 << 30, bytes_out: 1 << 30, starved_us: 900_000, active_us: 1_000_000, ..Flow::default() };
    let stage = |number| Stage { number, reports: true, flow: waits, ..Stage::default() };
    let stages: Vec<Stage> = (1..=hops).map(stage).collect();
    bencher.bench(|| evaluate(black_box(&waits), black_box(&stages)));
}

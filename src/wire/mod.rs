//! Messages between hops, independent of the protocol: `Request`, `Reply`, `Problem`; no socket, no clock.
//!
//! A request head as it is sent to a relay, and as the relay parses it:
//!
//! ```
//! use chainview::route::{FileName, Hop};
//! use chainview::wire::http::{RequestKind, encode_request, parse_request};
//! use chainview::wire::{Method, Request};
//!
//! let mut request = Request::new(Method::Get, FileName::new(b"report.pdf")?);
//! request.host = Some("10.0.0.1:9101".parse()?);
//! request.route = vec![Hop::parse_line("10.0.1.7 9101")?];
//! let mut head = Vec::new();
//! encode_request(&request, None, &mut head);
//! assert!(head.starts_with(b"GET /files/report.pdf HTTP/1.1\r\n"));
//!
//! let (kind, length) = parse_request(&head)?.expect("the head is complete");
//! assert_eq!(length, head.len());
//! let RequestKind::File(read) = kind else { panic!("not a file request") };
//! assert_eq!(read.route, request.route);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod condition;
mod denial;
mod digest;
pub mod http;
pub mod legacy;
pub mod media;
mod message;
pub mod problem;
mod progress;
mod reason;
pub mod tar;
mod transfer;
mod tunnel;

pub use condition::{ConditionResult, FileValidators};
pub use denial::{Denial, Lack};
pub use digest::{Algorithm, Digest};
pub use message::{ByteRange, Leg, Method, Reply, Request, add_to_list};
pub use problem::{FailedAction, Problem, Refusal};
pub use progress::DigestProgress;
pub use reason::Reason;
pub use transfer::{TransferId, TransferIds};
pub use tunnel::TunnelRequest;

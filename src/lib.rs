//! chainview fetches a file through a chain of relays that you name, and shows every hop in a terminal dashboard.
//!
//! A ground floor of plain words and two wings that never meet; a few roof files join them. `tests/tidy.rs` holds the
//! directions, and that this map names every room.
//!
//! # The ground floor: pure, no socket, no terminal, no clock
//!
//! ```text
//! route.rs      file names (name), addresses (address), hops (hop), the input.txt grammar, and what makes a node a relay or the origin
//! wire/         message (Request, Reply), condition (If-Match and the like), media (types by ending), digest, progress (of
//!               a digest), transfer (ids), problem and reason (what went wrong, in a form that travels);
//!               http and legacy: the two protocols, read and written on slices
//! meter.rs      counters and blocked-time clocks of a body, the cap's bucket, rates
//! snapshot.rs   all that a screen, a JSON line and a metric may know: node, listing;  body_error  how a body ended;
//!               log_events  what is worth a line;  bounded  lists, capped;  protocol  the one a connection speaks
//! verdict.rs    from where each stage spent its time (judge) to the sentence (words) that says what limits a transfer,
//!               while it runs (rolling, steady); evidence of one hop (stage), a node by itself (alone), what came before a
//!               short body (setup)
//! waterfall.rs  the set-up of a transfer as bars: who spent what, and when
//! command.rs    what a person may ask of the chain;  dials.rs  what can be turned on a hop while it runs
//! report.rs     the JSON document of a headless run
//! error.rs      one variant per failed action, each with its exit code;  body_failure  how a hop failed a body
//! text.rs       outside text made safe to show;  units.rs  sizes, rates and times as people read them
//! cli.rs        flags (args, values, mode_flags), environment and configuration file (config), both as defaults,
//!               become one validated Mode
//! ```
//!
//! # The wing of sockets: net/
//!
//! ```text
//! server        node  one listener and the sessions it owns;  accept  who is let in;  reserve  endpoints when it is full;
//!               drain  leaving in order;  caught  panics, kept to their request;  registry  who is connected and what
//!               they do;  latency  giving way to whoever is served alone
//!               session  one accepted connection: HTTP here, the original's dialogue in legacy;  downstream  its socket
//!               relay  asks the next hop and sends the answer down;  origin  finds, proves and sends a file
//!               root  the served folder as a handle;  digests  computed once per file
//! limits        every wait, every cap;  access  who may read and control
//! upstream      asking the next hop over either wire (exchange);  protocols  which wire it speaks;  preconnect  a spare
//!               connection, opened ahead;  connect  resolve, judge, connect;  resolve  names, on threads of their own;
//!               policy  whom a node may dial
//! body          the best way for a body;  copy  the copying loop;  shaping  what the dials do to it;  splice  past the
//!               loop;  reader  whether it still reads;  sockbuf  what waits in the kernel while a reader is slow
//! admin         the node's own pages (pages, html, negotiate; events and what hops further up say, relay) and verbs
//!               (control), over stream;  metrics  its counters as text;  listings  how many lists of folders are made
//!               at once
//! http_client   reading such pages from other nodes
//! admin_client  telling other nodes what to do, and asking origins for lists of folders
//! dials         what is turned now, for bodies under way
//! fetch         the client end: to a part file, proven, then into its place, unless it is there already (present)
//! watch         follows every hop's reports
//! diagnose      what hops say of one transfer, and who broke it (blame)
//! supervisor    local nodes
//! os            kernel  calls nobody wraps: socket figures, a head start for the disk, ignored signals;  socket  a
//!               connection, which reports hold while a body moves;  clock  µs;  starvation  how long this program was
//!               not running;  deadline  limits that do not count that time;  load  what a node got of the machine;
//!               threads  for work that waits for a disk;
//!               random  names and ids;  machine  all of that as a value, so that tests can hand in another one
//! sim           for tests alone: whole chains in one thread, on a clock that can be wound, with faults from a seed
//! ```
//!
//! # The wing of the terminal: ui/
//!
//! ```text
//! screen        the loop;  terminal  taking and giving back;  suspend  stopping;  event  the input thread;  input  bytes as
//!               keys;
//!               clipboard  what goes out besides frames
//! keymap        one table for dispatch, footer, help and palette;  action  what keys mean;  mouse  what clicks mean;
//!               edit  a line being typed
//! state         what the screen itself remembers;  lists  rows, narrowed by a filter and sorted;  history, rates
//!               what only a sequence of snapshots shows
//! view          draws;  layout  which region stands where;  widgets/  one region a file;  columns, grid, paint,
//!               theme  tables, glyphs, colours;  fill  where the bytes are;  svg  a screen as a picture;
//!               print  as lines
//! ```
//!
//! # The roof
//!
//! ```text
//! main.rs       parse, pick the mode, error to exit code
//! headless.rs   node, fetch, check, and plain, the run without a screen; observe  what limits it;  progress  the
//!               only progress bar
//! console.rs    standard output and standard error;  log  written by a thread of its own;  signals  that end a run
//! plan.rs       a run over one chain: from an input file, or the built-in demo
//! dashboard.rs  runs net and ui side by side: controller, the task that executes commands (commands), publishes
//!               snapshots and the log (publisher, log), keeps the queue (queue) and exports (export)
//! ```
//!
//! # What holds everywhere
//!
//! - Data flows one way: pump, `Meter`, `Registry`, `NodeSnapshot`, wire, watch, `ChainSnapshot`, frame. Keys flow the
//!   other way: event, `Action`, `UiState`, `Command`. Nothing in the key path waits.
//! - Success is the announced length, an equal digest where there is one, the file on the disk and renamed; never an end
//!   of stream.
//! - Every wait has a deadline, every length a cap, every task an owner.
//! - Text from outside is a `SafeText` before it reaches a screen, a log, JSON or an error.
//!
//! Reading order: `route`, `protocol`, `net::server::session`, `net::server::relay`, `net::body::copy`, `net::fetch`,
//! `net::watch`, `ui::screen`.

pub mod cli;
pub mod command;
pub mod console;
pub mod dashboard;
pub mod dials;
pub mod error;
pub mod headless;
pub mod meter;
pub mod net;
pub mod plan;
pub mod report;
pub mod route;
pub mod snapshot;
pub mod text;
pub mod ui;
pub mod units;
pub mod verdict;
pub mod waterfall;
pub mod wire;

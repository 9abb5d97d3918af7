//! chainview fetches a file through a chain of relays that you name, and shows every hop in a terminal dashboard.
//!
//! The library serves the binary, its tests, benches and fuzzers; it is not a stable API. `docs/architecture.md` has
//! the layers as a drawing, the sequence of a request, and the glossary. `tests/it/tidy.rs` checks the import
//! directions, and that this map names every module; `tests/it/module_graph.rs` that no files import each other in a
//! circle.
//!
//! # Core: no socket, terminal or clock; files and the environment only in cli/
//!
//! ```text
//! route.rs      file names (name), addresses (address), hops (hop), the grammar of input.txt, relay or origin; the
//!               order of the files in a folder (walk);  other  further ways to one file
//! wire/         message (Request, Reply), tunnel (CONNECT), condition (If-Match and the like), media (types by
//!               extension), digest, progress (of a digest), tar (streams of folders), transfer (ids); problem, reason
//!               and denial (errors that travel between nodes); http and legacy: the two protocols, parsed and encoded
//!               on slices
//! meter.rs      counters and wait times of a body, rates;  bucket  the token bucket of a rate limit;  fair  shares of
//!               one
//! snapshot.rs   the data that screen, JSON and metrics show, without the logic that computes it: chain, transfer and
//!               its files (folder) and connections, node and its counters (totals), listing, verdict, timing (bars);
//!               body_error  how a body ended;  log_events  changes that are logged;  bounded  lists of limited length;
//!               protocol  its JSON form;  hidden  names that only encrypted readers see;
//!               same_id  abbreviated transfer ids compared
//! verdict.rs    from the wait times of each stage (evaluate) to the sentence (display) that states what limits a
//!               transfer, while it runs (rolling, debounce) and afterwards (observed); evidence of one hop (stage),
//!               of a node by itself (local), of the setup before a short body (setup); the hop that a request has
//!               reached (awaited)
//! waterfall.rs  the setup of a transfer as bars: which stage spent what, and when
//! limits.rs     all timeouts and size limits;  allow_list.rs  where a node may connect to beyond its default policy;
//!               client_list.rs  the addresses that it serves
//! tour.rs       the demo's tour on given times: its acts and steps (script), one act (act)
//! options.rs    what to verify a file with, who is served on loopback, colors;  secret.rs  a token
//! fingerprint.rs  a key in 51 characters
//! keys.rs       key pairs (pair) and public keys (public); signatures of requests
//!               (signature) and why one is not accepted (signature_error), their fields (dictionary) and parameters
//!               (params); who may do what (authorized), each signed request once (spent)
//! connections.rs  the value of `--connections`;  growth.rs  how many connections `auto` uses: from figures of a route
//!               (sample, series) and what its verdict says of more (evidence), in trials (pace, refused), with the
//!               reason of each step (reason);  model  of links, for its tests
//! selection.rs  which files of a folder are fetched: patterns, and the names of a list
//! command.rs    commands of the user;  faults.rs  rate limit, delay and faults of a hop
//! audit.rs      who requested what of a node, a line of JSON each;  summary  what the lines add up to
//! report.rs     the JSON document of a run without a screen
//! error.rs      one variant per failed action, each with its exit code;  hop_error  failure of a hop;  body_failure
//!               how it failed a body;  kept_bytes  where the bytes of a failed transfer are
//! text.rs       text from outside, sanitized;  units.rs  sizes, rates and times for display
//! cli.rs        flags (args, values, mode_flags), environment and configuration file (config) as defaults, validated
//!               into one invocation;  key_file  reads keys
//! ```
//!
//! # net/: sockets; never imports ui
//!
//! ```text
//! server        accept  the accept loop;  reserve  endpoints when the node is full;  latency  scheduling in favor of
//!               a sole active connection;
//!               session  one accepted connection: HTTP here, the legacy protocol in legacy;  downstream  its socket;
//!               relay  requests from the next hop, replies downstream;  origin  finds, verifies and sends a file;
//!               tar_stream  a folder;  tunnel  relays a tunnel or ends it;  response  what all need to send one
//! node          what the sessions of one listener share;  registry  connections and transfers;  audit  lines about
//!               requests;  root  the served folder as a handle;  digests  computed once per file;  folder_work  how
//!               many listings and streams are made at once;  drain  graceful shutdown;  latest_line  of the stream of
//!               events
//! access        who may read and control;  caller  the key that signed a request, what that may do and (usage) moves
//! upstream      requests to the next hop over either protocol (request, exchange);  protocols  which one a hop uses;
//!               idle  idle connections, shared by all requests;  open  one of these, or a new connection (link);
//!               read_ahead  what was read from one;  tunnel  opens a tunnel;  encrypted  TLS to a hop with a key;
//!               tunnel_records  parts of a tunnel's records, by file;  connect  resolve, filter, connect;  resolve
//!               names, on threads of their own;  policy  where a node may connect to
//! body          chooses how a body is moved;  copy  the copy loop;  options  its parameters and errors;  shaping
//!               rate limit, delay and faults;  splice  in the kernel;  reader  whether the reader still reads;
//!               sockbuf  what the kernel may buffer;  tunnel  both directions of a tunnel
//! admin         endpoints  of a node;  html, events, reply  their forms;  relay  to those of further hops;
//!               control  changes to the node;  stream  what they are sent over;  metrics  counters as text
//! http_client   HTTP requests to other nodes;  endpoint_client  to their endpoints, inside TLS to a hop with a key
//! admin_client  control of other nodes, and listings of origins
//! faults        current faults and limits, for bodies that are being moved
//! fetch         the client: to a partial file, verified, then given its name, unless the same file is there (present);
//!               folder  a whole folder from one tar stream, unpacked while it arrives;  ranges  one file over several
//!               connections and routes; pieces  who receives which bytes;  blocks  its digest from blocks in any order
//! watch         follows every hop's snapshots
//! diagnose      transfer records of all hops, which hop failed (blame), and which keys they have (keys)
//! tls           configurations of TLS 1.3 for keys of this program: of a node (server), of a client (client);
//!               client_key  that of a client, which counts as its signature
//! supervisor    node processes on this machine
//! slow_link     a forwarder that holds bytes back, for the demo
//! os            kernel  calls without a safe wrapper: socket figures, write-back, ignored signals;  sockopt  sizes of
//!               socket buffers;  socket  opened, read and written while reports hold it;  clock  µs;  starvation  how
//!               long this program was not running;  deadline  timeouts that do not count that time;  load  CPU and
//!               disk of a node;  threads  for work that waits for a disk;  random  names and ids;  version  of a
//!               file's content;  caught  panics, contained in the request;  in_place  futures made in their box;
//!               machine  what tests replace, as a value
//! sim           for tests: whole chains in one thread, on a simulated clock, with faults from a seed
//! ```
//!
//! # ui/: the terminal; never imports net
//!
//! ```text
//! start         the screen without an input file;  screen  the loop;  terminal  setup and restore;  suspend  job
//!               control;  event  the input thread;  input  bytes as keys;  osc  sequences for clipboard, title,
//!               notification;  alerts  what they show;  share  commands and sentences to copy
//! keymap        one table of keys as data (table, binding), with the user's keys, help and search;  action  what keys
//!               mean;  dispatch  from a key to its action;  mouse  what clicks mean;  edit  a line being typed
//! finding       what matters most about the chain (sentence), why (rule), and what mattered before (periods);
//!               headline  that, with the keys that help;  why  the page that explains it
//! focus         tabs, panels and how far lists are scrolled;  state  the screen's own state, which does not draw;
//!               lists  rows, sorted and narrowed by a filter;  history, rates, waits  values over several
//!               snapshots;  totals  of the transfers;  preferences  what is remembered of the screen
//! layout        which region is where;  geometry  where rows, columns and popups are in it
//! view          draws;  widgets/  one region a file;  columns, grid, paint, theme  tables, glyphs, colors;
//!               glossary  meaning of the words;  fill  where bytes are buffered;  time_shares, evidence  how a stage
//!               spends its time;  svg  a screenshot as SVG, with the shape of lines and blocks (shape);  print  as
//!               lines
//! ```
//!
//! # App: joins net and ui
//!
//! ```text
//! main.rs       parse, pick the mode, error to exit code
//! headless.rs   node, fetch, check, audit_summary, and plain, the run without a screen;  observe  what limits it;
//!               progress  the bar;  routes  what came by each;  new_key  the file of a new key;  certificate  for TLS
//!               clients of other kinds;  runtime  the thread it runs on
//! console.rs    standard output and standard error;  log  what is logged;  audit  where audit lines go;  lines  of
//!               both, written by threads of their own;  window  limits them;  signals  that end a run
//! on_done.rs    the user's command at the end of a transfer
//! plan.rs       a run over one chain: from an input file, or the built-in demo
//! dashboard.rs  runs net and ui side by side: controller, the task that executes commands (commands), publishes
//!               snapshots and the log (publisher, log), keeps the queue (queue), exports (export), and executes the
//!               demo's tour (tour, tour_steps); files that remember choices and recent chains (memory), from which
//!               the user chooses (start); setup is what both screens need
//! ```
//!
//! # What holds everywhere
//!
//! - Data flows one way: body, `Meter`, `Registry`, `NodeSnapshot`, wire, watch, `ChainSnapshot`, frame. Keys flow the
//!   other way: event, `Action`, `UiState`, `Command`. Nothing in the key path waits.
//! - Success is the announced length, an equal digest where there is one, the file on the disk and renamed; never an
//!   end of stream.
//! - Every wait has a deadline, every length a cap, every task an owner.
//! - Text from outside is a `SafeText` before it reaches a screen, a log, JSON or an error.
//!
//! Reading order: `route`, `wire`, `net::server::session`, `net::server::relay`, `net::body::copy`, `net::fetch`,
//! `net::watch`, `ui::screen`.

pub mod allow_list;
pub mod audit;
pub mod cli;
pub mod client_list;
pub mod command;
pub mod connections;
pub mod console;
pub mod dashboard;
pub mod error;
pub mod faults;
pub mod fingerprint;
pub mod growth;
pub mod headless;
pub mod keys;
pub mod limits;
pub mod meter;
pub mod net;
pub mod on_done;
pub mod options;
pub mod plan;
pub(crate) mod report;
pub mod route;
pub mod secret;
pub mod selection;
pub mod snapshot;
pub mod text;
pub mod tour;
pub mod ui;
pub mod units;
pub mod verdict;
pub mod waterfall;
pub mod wire;

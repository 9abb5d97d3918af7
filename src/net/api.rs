//! stub
use super::node::Node;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
/// stub
pub async fn serve(_node: &Arc<Node>, _stream: TcpStream, _head: Vec<u8>, _peer: SocketAddr) {}

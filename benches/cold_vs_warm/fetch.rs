//! A server on loopback that takes its time, and a client that waits for it: what a pipeline that fetches looks like to a
//! pool.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::workloads::noise;

/// How long an answer takes.
pub(crate) const LATENCY: Duration = Duration::from_millis(2);

const PAGE: usize = 16 << 10;

/// Serves for as long as the process lives.
pub(crate) fn serve() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let at = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    Ok(at)
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut request = String::new();
    BufReader::new(&stream).read_line(&mut request)?;
    let seed = request.bytes().fold(0, |hash: u64, byte| hash.wrapping_mul(31) + u64::from(byte));
    std::thread::sleep(LATENCY);
    stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n")?;
    stream.write_all(&noise(seed, PAGE))
}

/// The body of that page.
pub(crate) fn get(server: SocketAddr, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server)?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n").as_bytes())?;
    let mut page = Vec::with_capacity(PAGE + 64);
    stream.read_to_end(&mut page)?;
    let body = page.windows(4).position(|end| end == b"\r\n\r\n").map_or(0, |at| at + 4);
    Ok(page.split_off(body))
}

//! SPDY/3.1 frames as Kubernetes clients speak them. Entry points: [`Decoder`] and [`Encoder`]; `spdy_session`
//! builds streams on them.
//!
//! Clients use moby/spdystream, which never sends WINDOW_UPDATE and never waits for one: a side that kept
//! to SPDY's 64 KiB windows would stop for ever. So windows are ignored both ways, and TCP's own flow
//! control holds a fast sender back. Headers of one direction are one zlib stream over all frames with a
//! dictionary of SPDY/3 (draft-mbelshe-httpbis-spdy-00 section 2.6.10.1), so every header block must be
//! decoded, wanted or not.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The dictionary's first part: each word preceded by its length in four bytes.
const DICTIONARY_WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding \
    accept-language accept-ranges age allow authorization cache-control connection content-base \
    content-encoding content-language content-length content-location content-md5 content-range \
    content-type date etag expect expires from host if-match if-modified-since if-none-match if-range \
    if-unmodified-since last-modified location max-forwards pragma proxy-authenticate \
    proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade user-agent \
    vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie \
    keep-alive origin";
/// The rest, as it is.
const DICTIONARY_TEXT: &str = "10010120120220520630030230330430530630740240540640740840941041141241341441541\
    6417502504505203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 \
    Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service \
    UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, \
    Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,\
    text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,\
    utf-,*,enq=0.";

/// A control frame is a handful of headers; more is an attack.
const CONTROL_FRAME_BYTES_MAX: usize = 64 << 10;
/// The same after decompression.
const HEADER_BLOCK_BYTES_MAX: usize = 256 << 10;
/// Long data frames are handed on in pieces of this size.
const DATA_PIECE_BYTES: usize = 32 << 10;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const FLAG_FIN: u8 = 1;

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SpdyError {
    /// The connection broke.
    #[error("connection: {0}")]
    Connection(#[source] io::Error),
    /// The peer does not speak SPDY/3.1.
    #[error("not SPDY/3.1: {0}")]
    Protocol(&'static str),
}

/// Headers of a stream, lower-case names.
pub type Headers = BTreeMap<String, String>;

/// A frame, or for data a piece of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Opens a stream.
    SynStream {
        /// The stream; odd ones are the client's.
        id: u32,
        /// The opener sends nothing.
        fin: bool,
        /// What it is for.
        headers: Headers,
    },
    /// Accepts a stream.
    SynReply {
        /// The stream.
        id: u32,
    },
    /// Ends a stream both ways.
    Reset {
        /// The stream.
        id: u32,
        /// Why; 5 is cancel.
        status: u32,
    },
    /// Answered by the same frame.
    Ping(u32),
    /// The sender opens no more streams.
    GoAway {
        /// The last stream it will serve.
        last: u32,
    },
    /// Data.
    Data {
        /// The stream.
        id: u32,
        /// The sender's last.
        fin: bool,
        /// May be empty.
        bytes: Bytes,
    },
    /// Settings, window updates, further headers and what the future brings.
    Ignored,
}

fn dictionary() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1423);
    for word in DICTIONARY_WORDS.split(' ') {
        push_text(&mut bytes, &word.replace('_', " "));
    }
    bytes.extend_from_slice(DICTIONARY_TEXT.as_bytes());
    bytes
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    push_word(bytes, u32::try_from(text.len()).unwrap_or(u32::MAX));
    bytes.extend_from_slice(text.as_bytes());
}

fn push_word(bytes: &mut Vec<u8>, word: u32) {
    bytes.extend_from_slice(&word.to_be_bytes());
}

/// Reads frames of one direction.
#[derive(Debug)]
pub struct Decoder {
    inflate: Decompress,
    /// What is left of a data frame: stream, last, bytes.
    rest: Option<(u32, bool, usize)>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { inflate: Decompress::new(true), rest: None }
    }
}

impl Decoder {
    /// The next frame; `None` at the end of the connection.
    pub async fn read<R: AsyncRead + Unpin>(&mut self, reader: &mut R) -> Result<Option<Frame>, SpdyError> {
        if let Some((id, fin, left)) = self.rest.take() {
            return self.data(reader, id, fin, left).await.map(Some);
        }
        let mut head = [0; 8];
        match reader.read_exact(&mut head).await {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(SpdyError::Connection(error)),
        }
        let [a, b, c, d, flags, e, f, g] = head;
        let fin = flags & FLAG_FIN != 0;
        let length = u32::from_be_bytes([0, e, f, g]) as usize;
        if a & 0x80 == 0 {
            return self.data(reader, u32::from_be_bytes([a, b, c, d]), fin, length).await.map(Some);
        }
        if u16::from_be_bytes([a & 0x7f, b]) != 3 {
            return Err(SpdyError::Protocol("another version"));
        }
        if length > CONTROL_FRAME_BYTES_MAX {
            return Err(SpdyError::Protocol("control frame too long"));
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).await.map_err(SpdyError::Connection)?;
        self.control(u16::from_be_bytes([c, d]), fin, &body).map(Some)
    }

    async fn data<R: AsyncRead + Unpin>(
        &mut self,
        reader: &mut R,
        id: u32,
        fin: bool,
        left: usize,
    ) -> Result<Frame, SpdyError> {
        let mut piece = vec![0; left.min(DATA_PIECE_BYTES)];
        reader.read_exact(&mut piece).await.map_err(SpdyError::Connection)?;
        let left = left - piece.len();
        if left > 0 {
            self.rest = Some((id, fin, left));
        }
        Ok(Frame::Data { id, fin: fin && left == 0, bytes: piece.into() })
    }

    fn control(&mut self, kind: u16, fin: bool, body: &[u8]) -> Result<Frame, SpdyError> {
        let word = |at: usize| {
            let bytes = body.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_be_bytes).ok_or(SpdyError::Protocol("frame too short"))
        };
        Ok(match kind {
            SYN_STREAM => {
                let id = word(0)? & 0x7fff_ffff;
                let headers = self.headers(body.get(10..).unwrap_or_default())?;
                Frame::SynStream { id, fin, headers }
            }
            SYN_REPLY => {
                self.headers(body.get(4..).unwrap_or_default())?;
                Frame::SynReply { id: word(0)? & 0x7fff_ffff }
            }
            HEADERS => {
                self.headers(body.get(4..).unwrap_or_default())?;
                Frame::Ignored
            }
            RST_STREAM => Frame::Reset { id: word(0)? & 0x7fff_ffff, status: word(4)? },
            PING => Frame::Ping(word(0)?),
            GOAWAY => Frame::GoAway { last: word(0)? },
            _ => Frame::Ignored,
        })
    }

    fn headers(&mut self, block: &[u8]) -> Result<Headers, SpdyError> {
        let plain = self.inflate_block(block)?;
        let mut rest = plain.as_slice();
        let count = take_word(&mut rest)?;
        let mut headers = Headers::new();
        for _ in 0..count {
            let name = take_text(&mut rest)?.to_ascii_lowercase();
            headers.insert(name, take_text(&mut rest)?);
        }
        Ok(headers)
    }

    fn inflate_block(&mut self, mut block: &[u8]) -> Result<Vec<u8>, SpdyError> {
        let mut plain = Vec::with_capacity(1 << 10);
        loop {
            let before = (self.inflate.total_in(), plain.len());
            let outcome = self.inflate.decompress_vec(block, &mut plain, FlushDecompress::Sync);
            let used = usize::try_from(self.inflate.total_in() - before.0).unwrap_or(0);
            block = block.get(used..).unwrap_or_default();
            match outcome {
                Err(error) if error.needs_dictionary().is_some() => {
                    let set = self.inflate.set_dictionary(&dictionary());
                    set.map_err(|_| SpdyError::Protocol("another header dictionary"))?;
                }
                Err(_) => return Err(SpdyError::Protocol("headers do not decompress")),
                Ok(Status::StreamEnd) => return Err(SpdyError::Protocol("headers end")),
                Ok(_) if plain.len() == plain.capacity() => {
                    if plain.len() > HEADER_BLOCK_BYTES_MAX {
                        return Err(SpdyError::Protocol("headers too long"));
                    }
                    plain.reserve(plain.len());
                }
                Ok(_) if block.is_empty() => return Ok(plain),
                Ok(_) if used == 0 && plain.len() == before.1 => {
                    return Err(SpdyError::Protocol("headers do not decompress"));
                }
                Ok(_) => {}
            }
        }
    }
}

fn take_word(rest: &mut &[u8]) -> Result<u32, SpdyError> {
    let (head, tail) = rest.split_first_chunk::<4>().ok_or(SpdyError::Protocol("headers too short"))?;
    *rest = tail;
    Ok(u32::from_be_bytes(*head))
}

fn take_text(rest: &mut &[u8]) -> Result<String, SpdyError> {
    let length = take_word(rest)? as usize;
    let (head, tail) = rest.split_at_checked(length).ok_or(SpdyError::Protocol("headers too short"))?;
    *rest = tail;
    Ok(String::from_utf8_lossy(head).into_owned())
}

/// Writes frames of one direction.
#[derive(Debug)]
pub struct Encoder {
    deflate: Compress,
    /// zlib takes a dictionary only before the first byte.
    primed: bool,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { deflate: Compress::new(Compression::best(), true), primed: false }
    }
}

impl Encoder {
    /// Appends a frame.
    pub fn encode(&mut self, frame: &Frame, to: &mut Vec<u8>) -> Result<(), SpdyError> {
        match frame {
            Frame::SynStream { id, fin, headers } => {
                let block = self.block(headers)?;
                control(to, SYN_STREAM, *fin, 10 + block.len());
                push_word(to, *id);
                push_word(to, 0);
                to.extend_from_slice(&[0, 0]);
                to.extend_from_slice(&block);
            }
            Frame::SynReply { id } => {
                let block = self.block(&Headers::new())?;
                control(to, SYN_REPLY, false, 4 + block.len());
                push_word(to, *id);
                to.extend_from_slice(&block);
            }
            Frame::Reset { id, status } => {
                control(to, RST_STREAM, false, 8);
                push_word(to, *id);
                push_word(to, *status);
            }
            Frame::Ping(id) => {
                control(to, PING, false, 4);
                push_word(to, *id);
            }
            Frame::GoAway { last } => {
                control(to, GOAWAY, false, 8);
                push_word(to, *last);
                push_word(to, 0);
            }
            Frame::Data { id, fin, bytes } => {
                push_word(to, *id);
                push_length(to, *fin, bytes.len());
                to.extend_from_slice(bytes);
            }
            Frame::Ignored => {}
        }
        Ok(())
    }

    fn block(&mut self, headers: &Headers) -> Result<Vec<u8>, SpdyError> {
        let broken = |_| SpdyError::Protocol("headers do not compress");
        if !self.primed {
            self.deflate.set_dictionary(&dictionary()).map_err(broken)?;
            self.primed = true;
        }
        let mut plain = Vec::new();
        push_word(&mut plain, u32::try_from(headers.len()).unwrap_or(u32::MAX));
        for (name, value) in headers {
            push_text(&mut plain, name);
            push_text(&mut plain, value);
        }
        // Incompressible input grows by a few bytes at most; a sync flush adds five.
        let mut block = Vec::with_capacity(plain.len() + plain.len() / 8 + 64);
        self.deflate.compress_vec(&plain, &mut block, FlushCompress::Sync).map_err(broken)?;
        Ok(block)
    }
}

fn control(to: &mut Vec<u8>, kind: u16, fin: bool, length: usize) {
    to.extend_from_slice(&[0x80, 3]);
    to.extend_from_slice(&kind.to_be_bytes());
    push_length(to, fin, length);
}

fn push_length(to: &mut Vec<u8>, fin: bool, length: usize) {
    let flags = if fin { u32::from(FLAG_FIN) << 24 } else { 0 };
    push_word(to, flags | u32::try_from(length).unwrap_or(0) & 0x00ff_ffff);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn decode_all(mut bytes: &[u8]) -> Result<Vec<Frame>, SpdyError> {
        let mut decoder = Decoder::default();
        let mut frames = Vec::new();
        while let Some(frame) = decoder.read(&mut bytes).await? {
            frames.push(frame);
        }
        Ok(frames)
    }

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_dictionary_is_spdy_3s() {
        let (mut a, mut b) = (1_u32, 0_u32);
        for byte in dictionary() {
            a = (a + u32::from(byte)) % 65_521;
            b = (b + a) % 65_521;
        }
        assert_eq!((dictionary().len(), b << 16 | a), (1423, 0xe3c6_a7c2));
    }

    /// What kubectl 1.32 sends for `exec -i`, input "hello".
    const RECORDED: &str = include_str!("spdy/recorded.hex");

    #[tokio::test]
    async fn understands_kubectl() {
        let bytes = hex::decode(RECORDED.split_whitespace().collect::<String>()).expect("hex");
        let frames = decode_all(&bytes).await.expect("frames");
        let open = |id, kind| Frame::SynStream { id, fin: false, headers: headers(&[("streamtype", kind)]) };
        let expected = [
            open(1, "error"),
            open(3, "stdin"),
            open(5, "stdout"),
            open(7, "stderr"),
            Frame::Data { id: 3, fin: false, bytes: Bytes::from_static(b"hello\n") },
            Frame::Data { id: 3, fin: true, bytes: Bytes::new() },
        ];
        assert_eq!(frames, expected);
    }

    #[tokio::test]
    async fn refuses_nonsense() {
        assert!(decode_all(b"GET / HTTP/1.1\r\nHost: x\r\n").await.is_err());
        assert!(decode_all(&[0x80, 2, 0, 1, 0, 0, 0, 0]).await.is_err());
        assert!(decode_all(&[0x80, 3, 0, 1, 0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 9, 9]).await.is_err());
        assert_eq!(decode_all(&[]).await.expect("end"), []);
    }

    fn any_frame() -> impl Strategy<Value = Frame> {
        let id = 1_u32..0x7fff_ffff;
        let headers = prop::collection::btree_map("[a-z-]{1,12}", "[ -~]{0,40}", 0..6);
        prop_oneof![
            (id.clone(), any::<bool>(), headers).prop_map(|(id, fin, headers)| Frame::SynStream {
                id,
                fin,
                headers
            }),
            id.clone().prop_map(|id| Frame::SynReply { id }),
            (id.clone(), 1_u32..9).prop_map(|(id, status)| Frame::Reset { id, status }),
            any::<u32>().prop_map(Frame::Ping),
            any::<u32>().prop_map(|last| Frame::GoAway { last }),
            (id, any::<bool>(), prop::collection::vec(any::<u8>(), 0..99))
                .prop_map(|(id, fin, bytes)| Frame::Data { id, fin, bytes: bytes.into() }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(frames in prop::collection::vec(any_frame(), 0..20)) {
            let mut encoder = Encoder::default();
            let mut bytes = Vec::new();
            for frame in &frames {
                encoder.encode(frame, &mut bytes).expect("encode");
            }
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
            let read = runtime.block_on(decode_all(&bytes)).expect("decode");
            prop_assert_eq!(read, frames);
        }
    }
}

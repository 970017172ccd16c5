//! Records in, output out; tails; following through rotation.

use std::io::Write as _;

use super::*;

const LOG: &str = "2026-11-21T10:00:00.000000001Z stdout F one\n\
                   2026-11-21T10:00:01.000000000Z stderr F two\n\
                   2026-11-21T10:00:02.000000000Z stdout P thr\n\
                   2026-11-21T10:00:03.000000000Z stdout F ee\n\
                   2026-11-21T10:00:04.000000000Z stdout F \n";

fn options(query: &str) -> LogOptions {
    let now = "2026-11-21T10:00:10Z".parse().expect("time");
    LogOptions::parse(&Query::parse(query), now).expect("options")
}

async fn read(log: &str, query: &str) -> String {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("0.log");
    std::fs::write(&path, log).expect("write");
    let (sink, source) = mpsc::channel(64);
    stream(&path, options(query), std::future::pending(), sink).await.expect("stream");
    collect(source).await
}

async fn collect(mut source: mpsc::Receiver<Bytes>) -> String {
    let mut text = Vec::new();
    while let Some(bytes) = source.recv().await {
        text.extend_from_slice(&bytes);
    }
    String::from_utf8(text).expect("text")
}

#[tokio::test]
async fn selects_and_formats() {
    for (query, expect) in [
        ("", "one\ntwo\nthree\n\n"),
        (
            "timestamps=true&tailLines=3",
            "2026-11-21T10:00:02.000000000Z three\n2026-11-21T10:00:04.000000000Z \n",
        ),
        ("tailLines=0", ""),
        ("tailLines=1", "\n"),
        ("tailLines=4", "two\nthree\n\n"),
        ("tailLines=99", "one\ntwo\nthree\n\n"),
        ("sinceSeconds=9", "two\nthree\n\n"),
        ("sinceTime=2026-11-21T10:00:03Z", "ee\n\n"),
        ("limitBytes=6", "one\ntw"),
        ("limitBytes=0", ""),
        ("stream=Stderr", "two\n"),
        ("stream=Stdout&tailLines=2", "ee\n\n"),
    ] {
        assert_eq!(read(LOG, query).await, expect, "{query}");
    }
    assert_eq!(read("garbage\n\nhalf a rec", "").await, "");
}

#[test]
fn refuses_bad_values() {
    let now = Timestamp::UNIX_EPOCH;
    for query in [
        "tailLines=-1",
        "limitBytes=x",
        "sinceTime=yesterday",
        "stream=both",
        "sinceSeconds=1&sinceTime=2026-11-21T10:00:03Z",
    ] {
        assert!(LogOptions::parse(&Query::parse(query), now).is_err(), "{query}");
    }
}

#[test]
fn finds_tails_across_blocks() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("log");
    let line = "2026-11-21T10:00:00.000000001Z stdout F 0123456789\n";
    std::fs::write(&path, line.repeat(2000)).expect("write");
    let file = File::open(&path).expect("open");
    for records in [1, 2, 321, 322, 1999, 2000, 2001] {
        let expect = line.len() as u64 * 2000_u64.saturating_sub(records);
        assert_eq!(tail_start(&file, records).expect("tail"), expect, "{records}");
    }
}

async fn next(source: &mut mpsc::Receiver<Bytes>) -> String {
    let bytes = source.recv().await.expect("more");
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[tokio::test]
async fn follows_through_rotation_to_the_end() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("0.log");
    let record = |text: &str| format!("2026-11-21T10:00:00Z stdout F {text}\n");
    let append = |text: &str| {
        let mut file = File::options().append(true).create(true).open(&path).expect("open");
        file.write_all(text.as_bytes()).expect("write");
    };
    append(&record("one"));
    let (sink, mut source) = mpsc::channel(64);
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let following = {
        let path = path.clone();
        tokio::spawn(async move {
            let ended = async { drop(ended.await) };
            stream(&path, options("follow=true"), ended, sink).await
        })
    };
    assert_eq!(next(&mut source).await, "one\n");
    append("2026-11-21T10:00:00Z stdout F tw");
    append("o\n");
    assert_eq!(next(&mut source).await, "two\n");
    std::fs::rename(&path, directory.path().join("0.log.old")).expect("rotate");
    append(&record("three"));
    assert_eq!(next(&mut source).await, "three\n");
    append(&record("last"));
    end.send(()).expect("following");
    assert_eq!(collect(source).await, "last\n");
    following.await.expect("task").expect("stream");
}

#[tokio::test]
async fn stops_when_nobody_listens() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("absent.log");
    let (sink, source) = mpsc::channel(1);
    drop(source);
    stream(&path, options("follow=true"), std::future::pending(), sink).await.expect("stream");
}

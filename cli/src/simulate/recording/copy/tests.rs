use std::io::{BufReader, Cursor, Read};

use super::*;

/// A disk without room.
struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_disk_without_room_is_told_from_a_recording_that_cannot_be_read() {
    let (tell, _extent) = watch::channel(Extent::default());
    let copied = transfer(Cursor::new(b"line\n"), Full, &tell, &Demand::default());
    let fault = copied.unwrap_err();
    assert!(matches!(&fault, Fault::Write(_)), "{fault:?}");
    let error = fault.at(Path::new("-"), Path::new("/small"), 1).to_string();
    assert!(error.contains("/small") && error.contains("--data-dir"), "{error}");
}

#[tokio::test]
async fn the_copy_stays_close_to_what_was_read_of_it() {
    const CHUNK: usize = 64 << 10;
    let original = BufReader::with_capacity(CHUNK, io::repeat(b'x').take(3 * AHEAD));
    let (tell, mut extent) = watch::channel(Extent::default());
    let demand = Arc::new(Demand::default());
    let demanded = Arc::clone(&demand);
    let copying =
        std::thread::spawn(move || transfer(original, io::sink(), &tell, &demanded).unwrap());
    extent.wait_for(|extent| extent.bytes >= AHEAD).await.unwrap();
    demand.raise(AHEAD / 2);
    extent.wait_for(|extent| extent.bytes >= AHEAD / 2 * 3).await.unwrap();
    // When nobody reads any more, copying stops, far from the end.
    demand.raise(u64::MAX);
    copying.join().unwrap();
    assert!(extent.borrow().bytes <= AHEAD / 2 * 3 + CHUNK as u64);
}

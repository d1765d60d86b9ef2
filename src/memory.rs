//! What the C library's allocator keeps of memory that is free, and what stays mapped of the program itself.
//!
//! With the allocator's own settings each large message costs system calls and page faults, since its room goes back to
//! the system at once, and small rooms never do: after 5,000 sessions 20 MB stay. Here up to some MiB are kept while they
//! are in use, and what the process has grown by is given back some seconds later. All of it is advice: with another C
//! library nothing happens.

#![expect(
    unsafe_code,
    reason = "the allocator's settings and madvise have no safe equivalent"
)]

use std::collections::HashMap;
use std::fs;
use std::hash::{BuildHasher, Hash};
use std::ops::Range;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// Rooms up to this size come from the heap.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 4 * 1024 * 1024;
/// Free room at the end of the heap up to this size stays until [`Memory::tidy`].
#[cfg(target_env = "gnu")]
const SPARE: libc::c_int = 8 * 1024 * 1024;
/// Pages that the process may grow by before it is tidied up while it rests: 1 MiB.
const GROWTH: usize = 256;
/// The same while it works: 64 MiB.
const MUCH: usize = 16 * 1024;

/// Tells the allocator how to behave. Once, before the first thread is started.
pub fn prepare() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no pointers; both are settings that exist.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, SPARE);
    }
}

/// Gives back the room of a table that has become much smaller; to be called after removals.
pub fn fit<K: Eq + Hash, V, S: BuildHasher>(table: &mut HashMap<K, V, S>) {
    // Far enough from the size that it is given that it neither grows nor shrinks again soon.
    if table.capacity() > 8 * table.len().max(64) {
        table.shrink_to(2 * table.len());
    }
}

/// What the process was like when it was looked at last.
#[derive(Debug, Default)]
pub struct Memory {
    /// Pages after it was tidied up; `None` before the first time.
    tidy: Option<usize>,
    /// When, and how much processor time it had used.
    seen: Option<(Instant, Duration)>,
}

impl Memory {
    /// Gives back what is free, when the process has grown since the last time and rests now, or has grown by much. Takes
    /// some milliseconds then. To be called every few seconds.
    pub fn tidy(&mut self) {
        let Some(now) = resident() else { return };
        let rests = self.rests();
        let patience = if rests { GROWTH } else { MUCH };
        if let Some(tidy) = &mut self.tidy
            && now < *tidy + patience
        {
            *tidy = now.min(*tidy);
            return;
        }
        unmap_program();
        trim();
        self.tidy = resident();
    }

    /// Whether it has used less than a fifth of a processor since the last look.
    fn rests(&mut self) -> bool {
        let used = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from);
        let now = (Instant::now(), used.unwrap_or_default());
        let before = self.seen.replace(now);
        before.is_none_or(|(at, used)| now.1.saturating_sub(used) < now.0.duration_since(at) / 5)
    }
}

/// Pages of the process that are in memory (proc(5), `/proc/pid/statm`).
fn resident() -> Option<usize> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    statm.split(' ').nth(1)?.parse().ok()
}

fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no pointers.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Takes the program's code and constants out of this process's memory, most of which only the start has needed. What is
/// needed again comes back from the page cache.
fn unmap_program() {
    let Ok(maps) = fs::read_to_string("/proc/self/smaps") else {
        return;
    };
    let Ok(program) = fs::read_link("/proc/self/exe") else {
        return;
    };
    for place in unchanged(&maps, &program.to_string_lossy()) {
        let start = std::ptr::with_exposed_provenance_mut(place.start);
        // SAFETY: these are pages of a file, none of which was ever written to and none of which can be, so that dropping
        // them loses nothing: the next access reads the same bytes from the file.
        unsafe {
            libc::madvise(start, place.len(), libc::MADV_DONTNEED);
        }
    }
}

/// Where `program` is mapped without leave to write, and as it is in the file (proc(5), `/proc/pid/smaps`): what the
/// dynamic linker has written to before it took that leave away has pages of its own, which are anonymous.
fn unchanged(maps: &str, program: &str) -> Vec<Range<usize>> {
    let mut places = Vec::new();
    let mut place = None;
    for line in maps.lines() {
        if line.starts_with(|first: char| first.is_ascii_hexdigit() && !first.is_ascii_uppercase())
        {
            place = read_only(line, program);
        } else if line.starts_with("Anonymous:") && line.ends_with(" 0 kB") {
            places.extend(place.take());
        }
    }
    places
}

/// The addresses of a mapping, if it is one of `program` that can't be written to.
fn read_only(line: &str, program: &str) -> Option<Range<usize>> {
    let (addresses, rest) = line.split_once(' ')?;
    let can_be = rest.starts_with("r-xp ") || rest.starts_with("r--p ");
    if !can_be || !rest.ends_with(program) {
        return None;
    }
    let (start, end) = addresses.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    Some(number(start)?..number(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_can_have_written_to_is_unmapped() {
        let program = "/usr/bin/mcp-bridged";
        for (line, anonymous, want) in [
            ("r-xp 00000000 fe:00 17   /usr/bin/mcp-bridged", 0, true),
            ("r--p 00000000 fe:00 17   /usr/bin/mcp-bridged", 0, true),
            ("r--p 00009000 fe:00 17   /usr/bin/mcp-bridged", 280, false),
            ("rw-p 00000000 fe:00 17   /usr/bin/mcp-bridged", 0, false),
            ("r-xp 00000000 fe:00 18   /usr/lib/libc.so.6", 0, false),
            ("r-xp 00000000 00:00 0 ", 0, false),
        ] {
            let maps = format!(
                "1000-3000 {line}\nRss: 8 kB\nAnonymous: {anonymous:>6} kB\nVmFlags: rd ex\n\
                 ff00-ff10 r--p 00000000 00:00 0   [vvar]\nAnonymous:      0 kB\n"
            );
            let places = unchanged(&maps, program);
            assert_eq!(places.first() == Some(&(0x1000..0x3000)), want, "{line}");
            assert_eq!(places.len(), usize::from(want), "{line}");
        }
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let own = fs::read_link("/proc/self/exe").unwrap();
        assert!(!unchanged(&maps, &own.to_string_lossy()).is_empty());
    }

    #[test]
    fn a_table_gets_smaller_with_what_it_holds() {
        let mut table: HashMap<usize, ()> = (0..10_000).map(|n| (n, ())).collect();
        assert!(table.capacity() >= 10_000);
        for n in 0..10_000 {
            table.remove(&n);
            fit(&mut table);
        }
        assert!(table.capacity() <= 512, "{}", table.capacity());
        table.reserve(300);
        let small = table.capacity();
        fit(&mut table);
        assert_eq!(table.capacity(), small);
    }

    #[test]
    fn what_many_small_rooms_took_is_given_back() {
        if std::env::var_os("NEXTEST").is_none() {
            // Other tests in this process would count.
            return;
        }
        let mut memory = Memory::default();
        memory.tidy();
        let before = memory.tidy.unwrap();
        let rooms: Vec<Box<[u8; 1000]>> = (0..100_000).map(|_| Box::new([1; 1000])).collect();
        // The heap ends with something that stays.
        let last = Box::new([1_u8; 1000]);
        assert!(resident().unwrap() > before + MUCH);
        drop(rooms);
        memory.tidy();
        assert!(resident().unwrap() < before + 4_000, "{memory:?}");
        drop(last);
    }
}

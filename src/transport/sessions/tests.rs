//! Ids, and who has to go.

use super::*;

#[test]
fn ids_read_as_they_are_written_and_are_not_logged() {
    let id = SessionId::new();
    let text = id.to_string();
    assert_eq!(SessionId::parse(text.as_bytes()), Some(id));
    assert!(!format!("{id:?}").contains(&text[8..]));
    for bad in [
        "",
        "0",
        &text.replace(|_| true, "g"),
        &text.replace(|_| true, "A"),
        &format!("{text}0"),
    ] {
        assert_eq!(SessionId::parse(bad.as_bytes()), None, "{bad}");
    }
}

fn standing(
    n: u128,
    opened: u64,
    used: u64,
    words: u32,
    streams: usize,
    requests: usize,
) -> Standing {
    Standing {
        id: SessionId(n),
        opened,
        used,
        words,
        streams,
        requests,
    }
}

#[test]
fn silent_sessions_go_first_then_the_longest_idle() {
    let now = 1_000_000;
    let chosen = |sessions: &[Standing]| choose(sessions.iter().copied(), now).map(|id| id.0);
    let idle = standing(1, 0, 900_000, 9, 0, 0);
    let idle_longer = standing(2, 500_000, 800_000, 9, 0, 0);
    let fresh = standing(3, 0, now - 60_000, 9, 0, 0);
    let streaming = standing(4, 0, 0, 9, 1, 0);
    let waiting = standing(5, 0, 0, 9, 0, 1);
    let silent = standing(6, 999_000, 999_000, 1, 1, 0);
    let silent_longer = standing(7, 998_000, 999_500, 0, 1, 0);
    let initializing = standing(8, 0, 0, 1, 0, 1);
    assert_eq!(
        chosen(&[
            idle,
            idle_longer,
            fresh,
            streaming,
            waiting,
            silent,
            silent_longer,
            initializing
        ]),
        Some(7)
    );
    assert_eq!(
        chosen(&[idle, idle_longer, fresh, streaming, waiting, initializing]),
        Some(2)
    );
    assert_eq!(chosen(&[fresh, streaming, waiting, initializing]), None);
    assert_eq!(chosen(&[]), None);
}

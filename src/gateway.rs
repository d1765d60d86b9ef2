//! The gateway: one listener over all bridges and remote servers.

#[cfg_attr(
    not(test),
    expect(
        dead_code,
        reason = "the listener that holds remote servers comes next"
    )
)]
mod remote;

//! The stateless revision, in which each POST says all that is needed (MCP 2026-07-28, Streamable HTTP § Sending Messages,
//! § Request Metadata). There is no session; what counts as one here is a connection, or some, with a number of their own.

use std::rc::Rc;

use super::{Connection, Lanes, each_message, one_call};
use crate::error::{Error, Result};
use crate::http::{self, Target};
use crate::ledger::{Ledger, STATELESS, Shape};
use crate::meter::Meter;

/// The revision.
const REVISION: &str = "2026-07-28";

/// A connection to a target that knows the revision.
#[derive(Debug)]
pub(crate) struct Stateless {
    /// Head of each POST of a call.
    post: String,
    first: Connection,
}

impl Stateless {
    /// Connects and asks `server/discover`, as clients do that don't know yet whom they speak with. Calls are those of `shape`.
    ///
    /// # Errors
    /// When the target doesn't say that it knows the revision.
    pub(crate) async fn open(target: &Target, shape: &Shape) -> Result<Self> {
        let mut first = target.open().await?;
        let (mut request, mut body) = (Vec::new(), Vec::new());
        let discover = format!(
            r#"{{"jsonrpc":"2.0","id":0,"method":"server/discover","params":{{"_meta":{{{STATELESS}}}}}}}"#
        );
        http::post(
            &head(target, "server/discover", None),
            discover.as_bytes(),
            &mut request,
        );
        let response = first.exchange(&request, &mut body).await?;
        let mut knows = false;
        each_message(&response, &mut body, |message| {
            knows |= memchr::memmem::find(message, br#""supportedVersions""#).is_some()
                && memchr::memmem::find(message, REVISION.as_bytes()).is_some();
            Ok(())
        })?;
        if !knows {
            return Err(Error::Protocol(format!(
                "server/discover doesn't offer {REVISION}"
            )));
        }
        let post = head(target, "tools/call", Some(shape.tool()));
        Ok(Self { post, first })
    }

    /// One call.
    ///
    /// # Errors
    /// When the connection breaks or the status isn't a success. A wrong answer is the meter's.
    pub(crate) async fn call(&mut self, ledger: &mut Ledger, meter: &Meter) -> Result<()> {
        one_call(&mut self.first, &self.post, ledger, meter).await
    }

    /// Keeps `in_flight` calls going, each on a connection of its own.
    ///
    /// # Errors
    /// When a connection can't be opened. What happens to a call is the meter's.
    pub(crate) async fn drive(
        self,
        target: Rc<Target>,
        in_flight: usize,
        calls: (Shape, u32),
        meter: Rc<Meter>,
    ) -> Result<()> {
        let lanes = Lanes {
            target,
            post: self.post,
            first: self.first,
            in_flight,
        };
        lanes.drive(calls, meter).await
    }
}

fn head(target: &Target, method: &str, name: Option<&str>) -> String {
    let name = name.map_or(String::new(), |name| format!("Mcp-Name: {name}\r\n"));
    let headers = format!("MCP-Protocol-Version: {REVISION}\r\nMcp-Method: {method}\r\n{name}");
    http::post_head(target, &target.path, &headers)
}

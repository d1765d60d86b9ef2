//! The root `bridges.yaml` on a machine that has PostgreSQL: `List schemas.` is answered by the database.

use super::installed;
use super::postgres::{Postgres, SERVER};
use crate::gateway_readme::{items, respond, root};

#[tokio::test]
async fn list_schemas_executes_list_schemas_of_postgres() {
    let Some(installed) = installed(&[SERVER]) else {
        return;
    };
    let Some(database) = Postgres::start().await else {
        return;
    };
    let server = installed.path(SERVER);
    let folder = std::path::Path::new(&server).parent().unwrap();
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let daemon = root(&[("PATH", &path), ("POSTGRES_MCP_URL", &database.url())]).await;
    for part in ["input_text", "text"] {
        let response = respond(&daemon, part, "List schemas.").await;
        let calls = items(&response, "mcp_call");
        assert_eq!(calls.len(), 1, "{response}");
        assert_eq!(calls[0]["server_label"], "postgres");
        assert_eq!(calls[0]["name"], "list_schemas");
        let said = items(&response, "message")[0]["content"][0]["text"].to_string();
        assert!(
            said.contains("public") && said.contains("pg_catalog"),
            "{said}"
        );
    }
}

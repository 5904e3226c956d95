//! A row of any length comes from the server in pieces, however the server is reached.

use crate::support::Database;
use futures::StreamExt;
use keepsake_domain::ConnectionUrl;
use keepsake_postgres::connect;
use std::pin::pin;

const ROW: &str = "COPY (SELECT repeat('x', 3000000)) TO STDOUT";
/// A message of rows, as `copy_frames.rs` says.
const LONGEST_BYTES: usize = 64 * 1024;

/// The longest piece, and the bytes of all.
async fn pieces(url: &ConnectionUrl) -> (usize, usize) {
    let client = connect(url).await.unwrap();
    let mut rows = pin!(client.copy_out(ROW).await.unwrap());
    let (mut longest, mut all) = (0, 0);
    while let Some(piece) = rows.next().await {
        let bytes = piece.unwrap().len();
        longest = longest.max(bytes);
        all += bytes;
    }
    (longest, all)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_row_comes_in_pieces_where_tls_is_off_where_it_is_refused_and_over_a_socket_of_unix() {
    let source_db = Database::source().await;
    let url = source_db.url().expose().to_owned();
    let client = source_db.client().await;
    let row = client.query_one("SHOW unix_socket_directories", &[]).await.unwrap();
    let folders: String = row.get(0);
    let folder = folders.split(',').next().unwrap().trim().replace('/', "%2F");
    let (before, rest) = url.split_once('@').unwrap();
    let (_, port) = rest.split_once(':').unwrap();
    let mut ways = vec![format!("{url}?sslmode=disable"), format!("{url}?sslmode=prefer"), url.clone()];
    ways.push(format!("{before}@{folder}:{port}"));
    for way in ways {
        let (longest, all) = pieces(&way.parse().unwrap()).await;
        assert_eq!(all, 3_000_001, "{way}");
        assert!(longest <= LONGEST_BYTES, "{longest} bytes at once by {way}");
    }
}

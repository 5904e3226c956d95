//! Every supported major; 15 is the other tests' own.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn every_major_streams_and_lets_its_users_write() {
    for major in [14, 16, 17, 18] {
        let variable = format!("KEEPSAKE_TEST_POSTGRES_{major}_URL");
        let db = Database::on(&variable).await;
        harm::no_users_statement_fails(&db, major).await;
        schema_watch::every_definition_is_told(&Database::on(&variable).await).await;
        schema_watch::the_watch_sees_the_schema_that_the_boundaries_see(&Database::on(&variable).await).await;
        fingerprint::definitions_count_and_nothing_else_does(&Database::on(&variable).await).await;
    }
}

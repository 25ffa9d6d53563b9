//! Pause, resume, end, close: calls without a body, each a command of that name. One handler does them all; they differ in what is written
//! of them. Never more than these commands.

use actix_web::HttpResponse;

use super::bodies::{OperatorCommodityBody, PendingChange};
use super::request::ChangeRequest;
use crate::domain::CommodityId;
use crate::engine::Command;
use crate::http::etag::IfMatch;
use crate::http::key::KeyHeader;
use crate::http::problem::Problem;
use crate::http::schema::problems;

/// What a call without a body asks for: its word is in its path, and in the log.
async fn switch(request: ChangeRequest, word: &'static str, command: fn(CommodityId) -> Command) -> Result<HttpResponse, Problem> {
    request.ask_once(&format!("{word} commodity"), &word, command).await
}

/// Declares a call: its description, its word, its path and id in the documentation, what is told when it is done, and its command.
macro_rules! switches {
    ($($(#[doc = $description:tt])+
        $call:ident = ($word:tt, $path:tt, $id:tt, $done:tt, $command:path, $problems:ident);)+) => {
        $($(#[doc = $description])+
        #[utoipa::path(post, path = $path, operation_id = $id, tag = "operators: commodities",
            params(("id" = CommodityId, Path, description = "The commodity"), IfMatch, KeyHeader),
            responses(
                (status = 200, description = $done, body = OperatorCommodityBody,
                    headers(("ETag" = String, description = "For `If-Match`"))),
                (status = 202, description = "The outcome is not known yet", body = PendingChange,
                    headers(("Location" = String, description = "The commodity"), ("Retry-After" = u32, description = "Seconds to wait"))),
                $problems))]
        pub(crate) async fn $call(request: ChangeRequest) -> Result<HttpResponse, Problem> {
            switch(request, $word, $command).await
        })+
    };
}

switches! {
    /// Stop the sale for now. Pausing what is paused changes nothing.
    pause = ("pause", "/admin/v1/commodities/{id}/pause", "pause_commodity", "Paused", Command::Pause, SwitchProblems);

    /// Go on with a paused sale. Resuming what is not paused changes nothing.
    resume = ("resume", "/admin/v1/commodities/{id}/resume", "resume_commodity", "Going on", Command::Resume, SwitchProblems);

    /// End a sale for good, before its window does. Ending what was ended changes nothing.
    end = ("end", "/admin/v1/commodities/{id}/end", "end_commodity", "Ended", Command::End, SwitchProblems);

    /// Make a commodity history whose sale is over and of which nothing is owed. Closing what is closed changes nothing.
    ///
    /// It and its orders can be read as before; nothing of them changes any more, but for money that has to go back. A commodity is closed
    /// by itself some time after its sale.
    close = ("close", "/admin/v1/commodities/{id}/close", "close_commodity", "Closed", Command::Close, CloseProblems);
}

problems!(SwitchProblems: CommodityNotFound, Closed, VersionMismatch, IdempotencyMismatch, TooManyKeys, UpgradeUnfinished, Unavailable, Overloaded);
problems!(CloseProblems: CommodityNotFound, NotEnded, HasOpenOrders, UpgradeUnfinished, VersionMismatch, IdempotencyMismatch, TooManyKeys, Unavailable, Overloaded);

//! The operators' part of the OpenAPI document. Never served by itself where both surfaces are on one port.

use utoipa::OpenApi;

use super::commodities::{change, switch};
use super::{audit, commodities, import, nodes, orders, payments, users};

/// The operators' calls.
#[derive(OpenApi)]
#[openapi(
    paths(
        commodities::list,
        change::create,
        import::export,
        import::import,
        import::read,
        commodities::read,
        change::change,
        change::remove,
        change::restock,
        switch::pause,
        switch::resume,
        switch::end,
        switch::close,
        orders::list,
        orders::export,
        orders::read,
        orders::read_timeline,
        orders::cancel,
        payments::list,
        orders::refund,
        users::list,
        users::read,
        users::change,
        nodes::list,
        nodes::drain,
        nodes::partitions,
        audit::show
    ),
    tags(
        (name = "operators: commodities", description = "What is on sale. Role `operator` or `admin`"),
        (name = "operators: orders", description = "Everybody's orders. Role `operator` or `admin`"),
        (name = "operators: payments", description = "Everybody's payments. Role `operator` or `admin`"),
        (name = "operators: users", description = "Accounts. Role `admin`"),
        (name = "operators: nodes", description = "Who sells, and what. Role `operator` or `admin`"),
        (name = "operators: audit", description = "Whether the books balance. Role `operator` or `admin`")
    )
)]
pub(crate) struct Operators;

//! Tokens as the providers make them.

use super::*;

#[test]
fn the_tokens_of_keycloak_auth0_cognito_and_firebase_are_believed() {
    let (rsa, ec, ed) = (IssuerKey::rsa("r", 0, "RS256"), IssuerKey::es256("e"), IssuerKey::eddsa("d"));
    let file = jwks_file(&[&rsa, &ec, &ed]);
    let keycloak = "https://sso.example/realms/shop";
    let auth0 = "https://shop.eu.auth0.com/";
    let cognito = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Ab12Cd34E";
    let firebase = "https://securetoken.google.com/shop-4711";
    let issuers = [
        json!({"name": "keycloak", "issuer": keycloak, "role_claim": "realm_access.roles", "admin_values": ["shop-admin"]}),
        json!({"name": "auth0", "issuer": auth0, "audience": "https://api.shop.example",
            "role_claim": "https://shop.example/roles", "admin_values": "operator"}),
        json!({"name": "cognito", "issuer": cognito, "audience": "6q2aexample", "audience_claim": "client_id",
            "role_claim": "cognito:groups", "admin_values": ["operators"]}),
        json!({"name": "firebase", "issuer": firebase, "audience": "shop-4711", "role_claim": "shop_role", "admin_values": ["admin"]}),
    ];
    let issuers: Vec<Value> = issuers
        .into_iter()
        .map(|mut issuer| {
            issuer["jwks_file"] = json!(file.path());
            issuer
        })
        .collect();
    let auth = believing(&issuers);
    let of_keycloak = |roles: &[&str]| {
        json!({"exp": NOW + 300, "iat": NOW, "auth_time": NOW - 5, "jti": "9f0a", "iss": keycloak, "aud": ["doorbuster", "account"],
            "sub": "3b241101-e2bb-4255-8caf-4136c566a962", "typ": "Bearer", "azp": "shop-web", "acr": "1", "allowed-origins": ["https://shop.example"],
            "realm_access": {"roles": roles}, "resource_access": {"account": {"roles": ["manage-account"]}}, "scope": "openid profile",
            "email_verified": true, "preferred_username": "alice"})
    };
    let of_auth0 = |roles: Value| {
        json!({"https://shop.example/roles": roles, "iss": auth0, "sub": "auth0|5f7c8ec7c33c6c004bbafe82",
            "aud": ["https://api.shop.example", "https://shop.eu.auth0.com/userinfo"], "iat": NOW, "exp": NOW + 86_400, "azp": "x", "scope": "openid"})
    };
    let of_cognito = |groups: Value| {
        json!({"sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "cognito:groups": groups, "iss": cognito, "client_id": "6q2aexample",
            "token_use": "access", "scope": "aws.cognito.signin.user.admin", "auth_time": NOW, "exp": NOW + 3_600, "iat": NOW, "username": "alice"})
    };
    let of_firebase = |role: Value| {
        json!({"iss": firebase, "aud": "shop-4711", "auth_time": NOW, "user_id": "tQxJ3Kb2", "sub": "tQxJ3Kb2", "iat": NOW, "exp": NOW + 3_600,
            "email": "alice@example.org", "firebase": {"identities": {"email": ["alice@example.org"]}, "sign_in_provider": "password"}, "shop_role": role})
    };
    let (alice, auth0_alice, cognito_alice, firebase_alice) = (
        "keycloak:3b241101-e2bb-4255-8caf-4136c566a962",
        "auth0:auth0|5f7c8ec7c33c6c004bbafe82",
        "cognito:aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
        "firebase:tQxJ3Kb2",
    );
    for (said, expected) in [
        (of_keycloak(&["default-roles-shop"]), buyer(alice)),
        (of_keycloak(&["offline_access", "shop-admin"]), admin(alice)),
        (of_auth0(json!(["reader"])), buyer(auth0_alice)),
        (of_auth0(json!(["reader", "operator"])), admin(auth0_alice)),
        (of_auth0(json!("operator")), admin(auth0_alice)),
        (of_cognito(json!(["buyers"])), buyer(cognito_alice)),
        (of_cognito(json!(["operators"])), admin(cognito_alice)),
        (of_firebase(json!(null)), buyer(firebase_alice)),
        (of_firebase(json!("admin")), admin(firebase_alice)),
    ] {
        for key in [&rsa, &ec, &ed] {
            assert_eq!(auth.verify_at(&key.sign(&said), at(NOW_MS)), expected, "{said}");
        }
    }
}

#[test]
fn an_issuer_speaks_for_its_own_users_alone() {
    let (one, other) = (IssuerKey::eddsa("k"), IssuerKey::eddsa("k"));
    let (one_file, other_file) = (jwks_file(&[&one]), jwks_file(&[&other]));
    let auth = believing(&[
        json!({"name": "one", "issuer": "https://one.example", "jwks_file": one_file.path()}),
        json!({"name": "other", "issuer": "https://other.example", "jwks_file": other_file.path()}),
    ]);
    let by = |issuer: &str, key: &IssuerKey| auth.verify_at(&key.sign(&claims(json!({"iss": issuer, "sub": "42"}))), at(NOW_MS));
    assert_eq!(by("https://one.example", &one), buyer("one:42"));
    assert_eq!(by("https://other.example", &other), buyer("other:42"));
    assert_eq!(by("https://one.example", &other), Err(Unauthenticated::Signature));
    let own = auth.mint(crate::domain::UserId::new(42).expect("a positive id"), Role::Buyer, at(NOW_MS));
    assert_eq!(auth.verify_at(&own, at(NOW_MS)), buyer("42"), "our own are as before");
}

#[test]
fn an_issuer_may_have_several_audiences_and_each_its_own_roles() {
    let key = IssuerKey::es256("k");
    let file = jwks_file(&[&key]);
    let auth = believing(&[
        json!({"name": "web", "audience": ["web", "app"], "jwks_file": file.path()}),
        json!({"name": "staff", "audience": "console", "role_claim": "role", "admin_values": "admin", "jwks_file": file.path()}),
        json!({"name": "bare", "audience": [], "jwks_file": file.path()}),
    ]);
    let to = |audience: Value| auth.verify_at(&key.sign(&claims(json!({"aud": audience, "role": "admin"}))), at(NOW_MS));
    assert_eq!(to(json!("app")), buyer("web:alice"));
    assert_eq!(to(json!(["other", "web"])), buyer("web:alice"));
    assert_eq!(to(json!("console")), admin("staff:alice"));
    assert_eq!(to(json!(null)), buyer("bare:alice"), "who says no audience takes what is for nobody else");
    for audience in [json!("other"), json!([]), json!(""), json!(7), json!({"web": true}), json!("web app")] {
        assert_eq!(to(audience.clone()), Err(Unauthenticated::Audience), "{audience}");
    }
}

#[test]
fn a_subject_is_found_where_the_configuration_says() {
    let key = IssuerKey::eddsa("k");
    let (_file, auth) = with_keys(&[&key], json!({"subject_claim": "user.id"}));
    let by = |user: Value| auth.verify_at(&key.sign(&claims(json!({"user": user}))), at(NOW_MS));
    assert_eq!(by(json!({"id": "u-7"})), buyer("shop:u-7"));
    assert_eq!(by(json!({"id": 7})), buyer("shop:7"));
    assert_eq!(by(json!({"id": 18_446_744_073_709_551_615_u64})), buyer("shop:18446744073709551615"));
    assert_eq!(by(json!({"id": -7})), buyer("shop:-7"));
    let long = "x".repeat(255);
    assert_eq!(by(json!({"id": long})), buyer(&format!("shop:{long}")));
    for user in [
        json!({"id": ""}),
        json!({"id": "x".repeat(256)}),
        json!({"id": "a\nb"}),
        json!({"id": "a\u{0}"}),
        json!({"id": "a\u{85}"}),
        json!({"id": 1.5}),
        json!({"id": 1e300}),
        json!({"id": true}),
        json!({"id": null}),
        json!({"id": ["u-7"]}),
        json!({"id": {}}),
        json!({}),
        json!("u-7"),
        json!(null),
    ] {
        assert_eq!(by(user.clone()), Err(Unauthenticated::Subject), "{user}");
    }
}

#[test]
fn the_time_of_a_token_is_to_the_millisecond_and_the_leeway_is_added() {
    let key = IssuerKey::eddsa("k");
    for leeway in [0, 30] {
        let (_file, auth) = with_keys(&[&key], json!({"leeway_seconds": leeway}));
        let said = |given: Value| key.sign(&claims(given));
        let until = said(json!({"exp": NOW + 10}));
        let end = (NOW + 10 + leeway) * 1000;
        // The second time it is remembered.
        for _ in 0..2 {
            assert_eq!(auth.verify_at(&until, at(end - 1)), buyer("shop:alice"));
            assert_eq!(auth.verify_at(&until, at(end)), Err(Unauthenticated::Expired));
        }
        let from = said(json!({"nbf": NOW + 10, "exp": NOW + 100}));
        let begin = (NOW + 10 - leeway) * 1000;
        for _ in 0..2 {
            assert_eq!(auth.verify_at(&from, at(begin)), buyer("shop:alice"));
            assert_eq!(auth.verify_at(&from, at(begin - 1)), Err(Unauthenticated::NotYetValid));
        }
        // Some providers send fractions.
        let fraction = said(json!({"exp": NOW as f64 + 10.75, "nbf": NOW as f64 - 0.5, "iat": NOW as f64 + 0.25}));
        assert_eq!(auth.verify_at(&fraction, at(end + 749)), buyer("shop:alice"));
        assert_eq!(auth.verify_at(&fraction, at(end + 750)), Err(Unauthenticated::Expired));
    }
}

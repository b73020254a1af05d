//! The shapes of Ingress, ServerlessService, Certificate and ClusterDomainClaim, and of Image.
//!
//! Pure: tables. Source: knative/networking `pkg/apis/networking/v1alpha1`, knative/caching.

use super::{
    Kind, Struct, TEXT, TEXT_MAP, TEXTS, embedded, field,
    meta::{ANNOTATIONS, CONDITIONS, OBJECT_REFERENCE, OBSERVED_GENERATION},
};

/// What an Ingress wants.
pub static INGRESS_SPEC: Struct = Struct {
    go: "v1alpha1.IngressSpec",
    fields: &[
        field("TLS", "tls", Kind::List(&Kind::Struct(&INGRESS_TLS))).doc("Certificates by hosts."),
        field("Rules", "rules", Kind::List(&Kind::Struct(&INGRESS_RULE)))
            .doc("Hosts, and where their requests go."),
        field("HTTPOption", "httpOption", Kind::Text("v1alpha1.HTTPOption"))
            .doc("Enabled, or Redirected to send clients to HTTPS."),
    ],
};

static INGRESS_TLS: Struct = Struct {
    go: "v1alpha1.IngressTLS",
    fields: &[
        field("Hosts", "hosts", TEXTS),
        field("SecretName", "secretName", TEXT),
        field("SecretNamespace", "secretNamespace", TEXT),
    ],
};

static INGRESS_RULE: Struct = Struct {
    go: "v1alpha1.IngressRule",
    fields: &[
        field("Hosts", "hosts", TEXTS),
        field("Visibility", "visibility", Kind::Text("v1alpha1.IngressVisibility"))
            .doc("ExternalIP or ClusterLocal."),
        field("HTTP", "http", Kind::Pointer(&Kind::Struct(&HTTP_RULE))),
    ],
};

static HTTP_RULE: Struct = Struct {
    go: "v1alpha1.HTTPIngressRuleValue",
    fields: &[field("Paths", "paths", Kind::List(&Kind::Struct(&HTTP_PATH)))
        .required()
        .doc("Paths in the order in which they are tried.")],
};

static HTTP_PATH: Struct = Struct {
    go: "v1alpha1.HTTPIngressPath",
    fields: &[
        field("Path", "path", TEXT),
        field("RewriteHost", "rewriteHost", TEXT),
        field(
            "Headers",
            "headers",
            Kind::Map("map[string]v1alpha1.HeaderMatch", &Kind::Struct(&HEADER_MATCH)),
        ),
        field("Splits", "splits", Kind::List(&Kind::Struct(&SPLIT))).required(),
        field("AppendHeaders", "appendHeaders", TEXT_MAP),
    ],
};

static HEADER_MATCH: Struct =
    Struct { go: "v1alpha1.HeaderMatch", fields: &[field("Exact", "exact", TEXT).required()] };

static SPLIT: Struct = Struct {
    go: "v1alpha1.IngressBackendSplit",
    fields: &[
        embedded("IngressBackend", &BACKEND),
        field("Percent", "percent", Kind::Int),
        field("AppendHeaders", "appendHeaders", TEXT_MAP),
    ],
};

static BACKEND: Struct = Struct {
    go: "v1alpha1.IngressBackend",
    fields: &[
        field("ServiceNamespace", "serviceNamespace", TEXT).required(),
        field("ServiceName", "serviceName", TEXT).required(),
        field("ServicePort", "servicePort", Kind::IntOrString).required(),
    ],
};

/// What is known of an Ingress.
pub static INGRESS_STATUS: Struct = Struct {
    go: "v1alpha1.IngressStatus",
    fields: &[
        OBSERVED_GENERATION,
        CONDITIONS,
        ANNOTATIONS,
        field(
            "PublicLoadBalancer",
            "publicLoadBalancer",
            Kind::Pointer(&Kind::Struct(&LOAD_BALANCER)),
        ),
        field(
            "PrivateLoadBalancer",
            "privateLoadBalancer",
            Kind::Pointer(&Kind::Struct(&LOAD_BALANCER)),
        ),
    ],
};

static LOAD_BALANCER: Struct = Struct {
    go: "v1alpha1.LoadBalancerStatus",
    fields: &[field("Ingress", "ingress", Kind::List(&Kind::Struct(&LOAD_BALANCER_INGRESS)))],
};

static LOAD_BALANCER_INGRESS: Struct = Struct {
    go: "v1alpha1.LoadBalancerIngressStatus",
    fields: &[
        field("IP", "ip", TEXT),
        field("Domain", "domain", TEXT),
        field("DomainInternal", "domainInternal", TEXT),
        field("MeshOnly", "meshOnly", Kind::Bool),
    ],
};

/// What a ServerlessService wants.
pub static SERVERLESS_SERVICE_SPEC: Struct = Struct {
    go: "v1alpha1.ServerlessServiceSpec",
    fields: &[
        field("Mode", "mode", Kind::Text("v1alpha1.ServerlessServiceOperationMode"))
            .doc("Serve, or Proxy through the activator."),
        field("ObjectRef", "objectRef", Kind::Struct(&OBJECT_REFERENCE)).required().atomic_map(),
        field("ProtocolType", "protocolType", Kind::Text("networking.ProtocolType")).required(),
        field("NumActivators", "numActivators", Kind::Int32),
    ],
};

/// What is known of a ServerlessService.
pub static SERVERLESS_SERVICE_STATUS: Struct = Struct {
    go: "v1alpha1.ServerlessServiceStatus",
    fields: &[
        OBSERVED_GENERATION,
        CONDITIONS,
        ANNOTATIONS,
        field("ServiceName", "serviceName", TEXT),
        field("PrivateServiceName", "privateServiceName", TEXT),
    ],
};

/// What a Certificate wants.
pub static CERTIFICATE_SPEC: Struct = Struct {
    go: "v1alpha1.CertificateSpec",
    fields: &[
        field("DNSNames", "dnsNames", TEXTS).required(),
        field("Domain", "domain", TEXT),
        field("SecretName", "secretName", TEXT).required(),
    ],
};

/// What is known of a Certificate.
pub static CERTIFICATE_STATUS: Struct = Struct {
    go: "v1alpha1.CertificateStatus",
    fields: &[
        OBSERVED_GENERATION,
        CONDITIONS,
        ANNOTATIONS,
        field("NotAfter", "notAfter", TEXT),
        field("HTTP01Challenges", "http01Challenges", Kind::List(&Kind::Struct(&CHALLENGE))),
    ],
};

static CHALLENGE: Struct = Struct {
    go: "v1alpha1.HTTP01Challenge",
    fields: &[
        field("URL", "url", TEXT),
        field("ServiceName", "serviceName", TEXT),
        field("ServicePort", "servicePort", Kind::IntOrString),
        field("ServiceNamespace", "serviceNamespace", TEXT),
    ],
};

/// What a ClusterDomainClaim wants.
pub static CLUSTER_DOMAIN_CLAIM_SPEC: Struct = Struct {
    go: "v1alpha1.ClusterDomainClaimSpec",
    fields: &[field("Namespace", "namespace", TEXT).required()],
};

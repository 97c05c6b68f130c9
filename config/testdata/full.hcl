geodata {
  database = "/var/lib/perto/city.mmdb"
  anycast  = ["203.0.113.53/32", "2001:db8:53::/48"]
  override "198.18.1.0/24" {
    place = "São Paulo"
  }
}
node "ns1" {
  roles     = ["dns"]
  place     = "Ashburn, VA, US"
  addresses = ["203.0.113.53", "2001:db8::53"]
  dns       = ["203.0.113.53:53"]
  data      = "/var/lib/perto"
  api       = "203.0.113.53:9100"
  api_names = ["ns1.example"]
  api_token = "api.token"
  key       = "cluster.key"
}
pop "gru" {
  place  = "São Paulo, SP, BR"
  weight = 3
  edge "gru-1" {
    addresses = ["203.0.113.10", "2001:db8::10"]
    capacity  = "10Gbps"
    weight    = 2
    check     = "192.168.7.10:8080"
    tags      = "2001:db8:7a00:1::/64"
  }
}
pop "iad" {
  place = "Ashburn, VA, US"
  edge "iad-1" {
    addresses = ["203.0.113.20"]
  }
}
zone "CDN.example." {
  file   = "cdn.zone"
  edges  = "pops"
  whoami = ""
}
service "*.tenants.cdn.example" {
  origin "https://origin.example:8443" {
    host = "tenants.example"
  }
  probe "http" {
    path     = "/healthz"
    port     = 8080
    interval = "1s"
  }
  map {
    pops     = ["gru", "iad"]
    policy   = ["fence", "nearest"]
    answers  = 1
    ttl      = "60s"
    ttl_min  = "10s"
    all_down = "none"
    scope_regret = "200us"
    fence "br" {
      countries = ["BR"]
      pops      = ["gru"]
    }
  }
}

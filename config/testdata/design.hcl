node "gru-1" {
  roles = ["dns", "edge"]
  data  = "/var/lib/perto"
}
pop "gru" {
  place    = "São Paulo, SP, BR"
  provider = "acme-hosting"
  edge "gru-1" {
    addresses = ["203.0.113.10", "2001:db8::10"]
    capacity  = "10Gbps"
  }
}
zone "cdn.example" {
  file = "cdn.example.zone"
}
service "shop.cdn.example" {
  aliases = ["www.shop.example"]
  origin "https://origin.shop.example" {
    health = "/healthz"
  }
  map {
    policy   = ["up", "fence", "nearest", "shed", "weight"]
    answers  = 2
    ttl      = "20s"
    all_down = "last"
  }
  function "/greeting" {
    module     = "greeting"
    activation = "pooled"
    placement  = "edge"
  }
}

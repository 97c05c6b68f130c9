pop "gru" {
  place = "São Paulo, SP, BR"
  edge "gru-1" {
    addresses = ["203.0.113.10"]
  }
}
zone "cdn.example" {
  file = "cdn.zone"
}
service "shop.cdn.example" {
  cookies = "store"
  origin "http://origin.example" {
    health = "healthz"
    host   = "shop example"
  }
  probe "http" {
    path = "/x HTTP/1.1\r\nHost: other"
  }
  path "/account/*" {
    cookies = "keep"
  }
  path "/account/*" {
  }
  path "account" {
  }
  path "/a/*/b" {
  }
}

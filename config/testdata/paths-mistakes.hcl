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

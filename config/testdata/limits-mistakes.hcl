node "ns1" {
  roles     = ["dns"]
  addresses = ["203.0.113.53"]
  memory    = "64"
  cache     = "1GiB"
  limits {
    connections = 5
  }
}
node "gru-1" {
  roles  = ["edge"]
  memory = "1MiB"
  limits {
    connections = 0
    stall       = "soon"
    head        = "1ms"
    range_fill  = "2PiB"
    object      = "2048TiB"
    exchanges   = 5
    dns_idle    = "5s"
  }
  limits {
  }
}
pop "gru" {
  place = "São Paulo, SP, BR"
  edge "gru-1" {
    addresses = ["203.0.113.10"]
  }
}

node "gru-1" {
  roles  = ["edge"]
  memory = "2GiB"
  limits {
    connections       = 20000
    stall             = "1m"
    object            = "32MiB"
    upload_rate       = "1KiB"
    origin_exchanges  = 2000
    origin_first_byte = "100s"
  }
}
pop "gru" {
  place = "São Paulo, SP, BR"
  edge "gru-1" {
    addresses = ["203.0.113.10"]
  }
}

pop "gru" {
  place = "São Paulo, SP, BR
}

pop "a" {
  place = "Tokyo, JP"
  edge "a-1" {
    addresses = ["1.2.3.4"]
    check = "1.2.3.4"
  }
}

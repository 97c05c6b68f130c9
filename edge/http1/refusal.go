package http1

import "strconv"

// Refusal is the reason why a message is not acceptable. It is an error. After it the
// position in the stream is unknown, so the connection must be closed.
type Refusal uint8

// The reasons.
const (
	accepted Refusal = iota
	BadRequestLine
	BadMethod
	UnsupportedMethod
	BadVersion
	UnsupportedVersion
	BadTarget
	TargetTooLong
	HeadTooLarge
	TooManyFields
	BareLF
	ObsFold
	BadFieldName
	BadFieldValue
	NoHost
	RepeatedHost
	BadHost
	HostMismatch
	BadContentLength
	RepeatedContentLength
	LengthAndChunked
	BadTransferEncoding
	UnknownTransferCoding
	ChunkedInHTTP10
	BadExpectation
	BadConnection
	BadChunk
	BadTrailer
	BadStatusLine
	UnexpectedUpgrade
)

var refusals = [...]struct {
	status int
	text   string
}{
	accepted:              {200, "accepted"},
	BadRequestLine:        {400, "malformed request line"},
	BadMethod:             {400, "malformed method"},
	UnsupportedMethod:     {501, "unsupported method"},
	BadVersion:            {400, "malformed HTTP version"},
	UnsupportedVersion:    {505, "unsupported HTTP version"},
	BadTarget:             {400, "malformed request target"},
	TargetTooLong:         {414, "request line too long"},
	HeadTooLarge:          {431, "head too large"},
	TooManyFields:         {431, "too many header fields"},
	BareLF:                {400, "line not ended by CRLF"},
	ObsFold:               {400, "folded header line"},
	BadFieldName:          {400, "malformed header name"},
	BadFieldValue:         {400, "malformed header value"},
	NoHost:                {400, "no Host"},
	RepeatedHost:          {400, "more than one Host"},
	BadHost:               {400, "malformed Host"},
	HostMismatch:          {400, "Host differs from the target's authority"},
	BadContentLength:      {400, "malformed Content-Length"},
	RepeatedContentLength: {400, "more than one Content-Length"},
	LengthAndChunked:      {400, "both Content-Length and Transfer-Encoding"},
	BadTransferEncoding:   {400, "malformed Transfer-Encoding"},
	UnknownTransferCoding: {501, "unknown transfer coding"},
	ChunkedInHTTP10:       {400, "Transfer-Encoding in HTTP/1.0"},
	BadExpectation:        {417, "unknown expectation"},
	BadConnection:         {400, "Connection names an end-to-end field, or too many"},
	BadChunk:              {400, "malformed chunk"},
	BadTrailer:            {400, "malformed trailer"},
	BadStatusLine:         {502, "malformed status line"},
	UnexpectedUpgrade:     {502, "unexpected switch of protocols"},
}

// Error returns the reason in words.
func (r Refusal) Error() string {
	if int(r) < len(refusals) {
		return refusals[r].text
	}
	return "refusal " + strconv.Itoa(int(r))
}

// Status returns the status code for the reply to a client. It has no meaning for a
// refused reply of an origin: the client then always receives 502.
func (r Refusal) Status() int { return refusals[r].status }

package s3server

import (
	"encoding/xml"
	"net/http"
)

// response is an answer before it is sent.
type response struct {
	status int
	header http.Header
	body   []byte
	length int64 // Content-Length of an answer to HEAD
}

const namespace = "http://s3.amazonaws.com/doc/2006-03-01/"

// failed answers with an error as S3 writes them.
func failed(status int, code, message string) *response {
	return asXML(status, struct {
		XMLName   xml.Name `xml:"Error"`
		Code      string
		Message   string
		RequestID string `xml:"RequestId"`
	}{Code: code, Message: message, RequestID: requestID()})
}

func noBucket() *response {
	return failed(http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist")
}

func noKey() *response {
	return failed(http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
}

func asXML(status int, value any) *response {
	body, err := xml.Marshal(value)
	if err != nil {
		return &response{status: http.StatusInternalServerError}
	}
	return &response{
		status: status, header: http.Header{"Content-Type": {"application/xml"}},
		body: append([]byte(xml.Header), body...),
	}
}

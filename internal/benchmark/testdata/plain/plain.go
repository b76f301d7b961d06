// Package plain is the webhook as a good engineer writes it in an afternoon: what Handover is measured against. It loses announcements when it crashes, trusts
// late events, and refuses what encoding/json refuses; but it does the same work where nothing goes wrong.
package plain

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	lru "github.com/hashicorp/golang-lru/v2"
)

// Handler handles API Gateway's events.
type Handler struct {
	Secret string
	Known  *lru.Cache[string, string] // the reference_id of each user_id
	Log    *slog.Logger

	// Only for events that make connections.
	DynamoDB *dynamodb.Client
	Table    string
	SNS      *sns.Client
	Topic    string
	Athlete  func(ctx context.Context, userID string) (providerUserID string, err error)
}

type event struct {
	Type string `json:"type"`
	User *user  `json:"user"`
}

type user struct {
	UserID      string `json:"user_id"`
	ReferenceID string `json:"reference_id"`
	Provider    string `json:"provider"`
}

// Invoke is Handle from bytes to bytes, as the Lambda library does it.
func (h *Handler) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	var request events.APIGatewayV2HTTPRequest
	if err := json.Unmarshal(payload, &request); err != nil {
		return nil, err
	}
	response, err := h.Handle(ctx, request)
	if err != nil {
		return nil, err
	}
	return json.Marshal(response)
}

// Handle handles one webhook.
func (h *Handler) Handle(ctx context.Context, request events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
	body := []byte(request.Body)
	if request.IsBase64Encoded {
		var err error
		if body, err = base64.StdEncoding.DecodeString(request.Body); err != nil {
			return answer(400), nil
		}
	}
	if !h.verify(request.Headers["x-terra-signature"], body) {
		return answer(401), nil
	}
	var e event
	if err := json.Unmarshal(body, &e); err != nil {
		return answer(400), nil
	}
	if e.User == nil {
		return answer(200), nil
	}
	switch e.Type {
	case "auth":
		if err := h.claim(ctx, *e.User); err != nil {
			return answer(500), nil
		}
	default:
		if reference, ok := h.Known.Get(e.User.UserID); !ok || reference != e.User.ReferenceID {
			h.Known.Add(e.User.UserID, e.User.ReferenceID)
		}
	}
	h.Log.InfoContext(ctx, "webhook", "type", e.Type, "provider", e.User.Provider, "status", 200)
	return answer(200), nil
}

func (h *Handler) verify(header string, body []byte) bool {
	var t, v1 string
	for _, part := range strings.Split(header, ",") {
		name, value, _ := strings.Cut(part, "=")
		switch name {
		case "t":
			t = value
		case "v1":
			v1 = value
		}
	}
	seconds, err := strconv.ParseInt(t, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > 26*time.Hour {
		return false
	}
	mac := hmac.New(sha256.New, []byte(h.Secret))
	mac.Write([]byte(t + "."))
	mac.Write(body)
	return hmac.Equal([]byte(hex.EncodeToString(mac.Sum(nil))), []byte(v1))
}

// claim asks for the account, reads its owner, writes the new one unless somebody else was faster, and announces a change.
func (h *Handler) claim(ctx context.Context, u user) error {
	account, err := h.Athlete(ctx, u.UserID)
	if err != nil {
		return err
	}
	key := map[string]types.AttributeValue{"account": &types.AttributeValueMemberS{Value: u.Provider + "/" + account}}
	got, err := h.DynamoDB.GetItem(ctx, &dynamodb.GetItemInput{TableName: &h.Table, Key: key})
	if err != nil {
		return err
	}
	put := &dynamodb.PutItemInput{TableName: &h.Table, Item: map[string]types.AttributeValue{
		"account":      key["account"],
		"user_id":      &types.AttributeValueMemberS{Value: u.UserID},
		"reference_id": &types.AttributeValueMemberS{Value: u.ReferenceID},
	}, ConditionExpression: aws.String("attribute_not_exists(account)")}
	if got.Item != nil {
		put.ConditionExpression = aws.String("user_id = :read")
		put.ExpressionAttributeValues = map[string]types.AttributeValue{":read": got.Item["user_id"]}
	}
	if _, err = h.DynamoDB.PutItem(ctx, put); err != nil {
		return err
	}
	owner, ok := got.Item["reference_id"].(*types.AttributeValueMemberS)
	if !ok || owner.Value == u.ReferenceID {
		return nil
	}
	message, err := json.Marshal(map[string]string{"account": account, "previous": owner.Value, "current": u.ReferenceID})
	if err != nil {
		return err
	}
	_, err = h.SNS.Publish(ctx, &sns.PublishInput{TopicArn: &h.Topic, Message: aws.String(string(message))})
	return err
}

func answer(status int) events.APIGatewayV2HTTPResponse {
	return events.APIGatewayV2HTTPResponse{StatusCode: status, Headers: map[string]string{"content-type": "application/json"}, Body: "{}"}
}

server {
	listen 8080;
	server_name mirror.example.com;
	root html/mirror;
	autoindex on;
	autoindex_exact_size off;
	autoindex_localtime on;
	location /pool/ {
		expires 1h;
		limit_rate 500k;
		limit_rate_after 10m;
	}
	location ~ ^/~(?<who>[^/]+)(?<rest>/.*)?$ {
		alias html/home/$who/public_html$rest;
	}
}

# A whole Rails application in one file. NAME, PORT, REDIS and STORAGE (files that the front sends) come from the environment.
ENV['RAILS_ENV'] = 'production'
require 'logger'
require 'rails'
require 'active_record/railtie'
require 'action_controller/railtie'
require 'action_view/railtie'
require 'action_cable/engine'

class Gallery < Rails::Application
  config.root = __dir__
  config.load_defaults 6.1
  config.eager_load = false
  config.cache_classes = true
  config.consider_all_requests_local = false
  config.secret_key_base = 'k' * 64
  config.hosts.clear
  config.logger = Logger.new($stdout)
  config.log_level = :warn
  config.public_file_server.enabled = false
  config.action_dispatch.x_sendfile_header = 'X-Accel-Redirect'
  config.session_store :cookie_store, key: '_gallery'
  config.action_cable.mount_path = '/cable'
  config.action_cable.allow_same_origin_as_host = true

  routes.append do
    root 'pages#home'
    get 'seen' => 'pages#seen'
    get 'old' => redirect('/seen')
    get 'fail' => 'pages#fail'
    get 'report' => 'pages#report'
    get 'events' => 'events#index'
    post 'login' => 'pages#login'
    post 'upload' => 'pages#upload'
    post 'say' => 'announcements#create'
  end
end

module ApplicationCable
  class Connection < ActionCable::Connection::Base
    identified_by :name

    def connect
      self.name = cookies.encrypted[:name] || 'guest'
    end
  end

  class Channel < ActionCable::Channel::Base; end
end

class RoomChannel < ApplicationCable::Channel
  def subscribed
    stream_from "room_#{params[:room]}"
    transmit({ name: connection.name, node: ENV['NAME'] })
  end

  def speak(data)
    ActionCable.server.broadcast("room_#{params[:room]}", { text: data['text'] })
  end
end

class PagesController < ActionController::Base
  protect_from_forgery with: :exception

  def home
    session[:visits] = session[:visits].to_i + 1
    render inline: <<~PAGE
      <html>
        <head><%= csrf_meta_tags %></head>
        <body>
          <h1>Visit <%= session[:visits] %> of <%= cookies.encrypted[:name] || 'guest' %></h1>
          <%= form_with(url: '/login') do |form| %><%= form.text_field :name %><% end %>
        </body>
      </html>
    PAGE
  end

  def seen
    render json: { url: request.url, remote_ip: request.remote_ip, ssl: request.ssl? }
  end

  def login
    reset_session
    cookies.encrypted[:name] = { value: params[:name], httponly: true, same_site: :lax }
    redirect_to '/seen', status: :see_other
  end

  def upload
    file = params.require(:file)
    render json: { name: file.original_filename, size: file.size, sha256: Digest::SHA256.hexdigest(file.read) }
  end

  def report
    send_file File.join(ENV['STORAGE'], 'report.bin'), type: 'application/octet-stream'
  end

  def fail
    raise 'a bug of the gallery'
  end
end

class AnnouncementsController < ActionController::API
  def create
    ActionCable.server.broadcast("room_#{params[:room]}", { text: params[:text] })
    head :no_content
  end
end

class EventsController < ActionController::Base
  include ActionController::Live

  # An event, and the next one when its file is there: whoever made it has read what came before.
  def index
    response.headers['Content-Type'] = 'text/event-stream'
    response.headers['X-Accel-Buffering'] = 'no'
    response.headers['Last-Modified'] = Time.now.httpdate # or Rack::ETag would wait for the end
    4.times do |number|
      deadline = Time.now + 20
      sleep 0.01 until number.zero? || File.exist?(File.join(params[:gate], number.to_s)) || Time.now > deadline
      response.stream.write("data: #{number}\n\n")
    end
  ensure
    response.stream.close
  end
end

Gallery.initialize!
run Gallery
